// Package conformance runs the Gateway API's own conformance suite against a tenant cluster.
//
// It adds no test and changes none. It says which class, which profiles and which implementation are meant,
// leaves every flag of the suite in force, and writes down what it saw beside the suite's report (see README.md).
package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/flags"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"

	"kubelb.k8c.io/conformance/internal/catalogue"
	"kubelb.k8c.io/conformance/internal/evidence"
)

// gatewayClass is the class that the CCM serves in a tenant cluster.
const gatewayClass = "kubelb"

// smokeTests prove that a Gateway gets an address, that an HTTPRoute serves traffic on it, and that the
// GatewayClass is reconciled. The suite's set-up also waits for its base Gateways to be programmed.
var smokeTests = []string{
	"GatewayClassObservedGenerationBump",
	"HTTPRouteSimpleSameNamespace",
}

// Flags of ours, beside the suite's.
var (
	only   = flag.String("only", "", "Comma-separated names of the tests to run, whatever the GatewayClass lists")
	smoke  = flag.Bool("smoke", false, "Run two tests only")
	core   = flag.Bool("core", false, "Run the core tests of the profiles only")
	folder = flag.String("folder", "", "Where report.yaml and evidence.yaml go")
	commit = flag.String("commit", "", "Commit that the product was built from")
	dirty  = flag.Bool("uncommitted-changes", false, "The tree has changes that the commit does not hold")
	pool   = flag.String("hub-pool", "", "Comma-separated CIDRs of the addresses that the hub gives")
)

// TestConformance runs the suite. What it runs is a matter of flags: every test unless told otherwise.
func TestConformance(t *testing.T) {
	opts := options(t)
	chosen := chosenTests(t)
	narrow(t, &opts, chosen)
	wanted := evidence.OptionsOf(opts.ConfigurableOptions, chosen)
	require.NoError(t, opts.Implementation.Validate())

	observer := evidence.NewObserver(opts.Client, os.Stderr, expected(t, opts, chosen))
	opts.Hook = observer.Ended
	cSuite, err := suite.NewConformanceTestSuite(opts)
	require.NoError(t, err, "the suite refuses its options")
	// A clean-up, since parallel tests go on after this function has returned.
	t.Cleanup(func() { writeDown(t, cSuite, observer, wanted) })

	run := suiteTests(observer, chosen)
	cSuite.Setup(t, run)
	observer.Look(t.Context())
	require.NoError(t, cSuite.Run(t, run))
}

// options reads the suite's flags and fills in what they leave open. A flag always wins.
func options(t *testing.T) suite.ConformanceOptions {
	t.Helper()
	opts := conformance.DefaultOptions(t)
	if opts.GatewayClassName == flags.DefaultGatewayClassName {
		opts.GatewayClassName = gatewayClass
	}
	if len(opts.ConformanceProfiles) == 0 {
		for _, name := range catalogue.Names() {
			opts.ConformanceProfiles = append(opts.ConformanceProfiles, suite.ConformanceProfileName(name))
		}
	}
	// A report must name all five; a published one passes real values by flag.
	implementation := &opts.Implementation
	setDefault(&implementation.Organization, "kubelb")
	setDefault(&implementation.Project, "kubelb")
	setDefault(&implementation.URL, "unpublished")
	setDefault(&implementation.Version, "development")
	if *commit != "" {
		implementation.Version += "+" + *commit
	}
	if len(implementation.Contact) == 0 {
		implementation.Contact = []string{"maintainers"}
	}
	return opts
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func split(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// chosenTests are those that flags of ours name; none means all.
func chosenTests(t *testing.T) []string {
	t.Helper()
	chosen := split(*only)
	if *smoke {
		chosen = append(chosen, smokeTests...)
	}
	for _, name := range chosen {
		require.Contains(t, catalogue.GatewayTests(), name, "the suite has no such test")
	}
	return chosen
}

// narrow sets the features that a narrowed run tests. The suite chooses its tests by features, not by profiles:
// without this a run of one profile would run the tests of the others too.
func narrow(t *testing.T, opts *suite.ConformanceOptions, chosen []string) {
	t.Helper()
	var named []string
	switch profiles := profilesOf(t, opts); {
	case len(opts.SupportedFeatures) > 0 || opts.EnableAllSupportedFeatures:
		return
	case len(chosen) > 0:
		named = catalogue.GatewayFeatures()
	case *core:
		named = catalogue.CoreFeatures(profiles...)
	case len(profiles) < len(catalogue.Profiles()):
		named = intersection(catalogue.Features(profiles...), published(t, opts))
	default:
		return
	}
	for _, name := range named {
		opts.SupportedFeatures = append(opts.SupportedFeatures, features.FeatureName(name))
	}
}

func profilesOf(t *testing.T, opts *suite.ConformanceOptions) []catalogue.Profile {
	t.Helper()
	var profiles []catalogue.Profile
	for index, name := range opts.ConformanceProfiles {
		profile, found := catalogue.ProfileNamed(string(name))
		require.True(t, found, "%q is none of %v", name, catalogue.Names())
		opts.ConformanceProfiles[index] = suite.ConformanceProfileName(profile.Name)
		profiles = append(profiles, profile)
	}
	return profiles
}

// published reads the features that the GatewayClass lists.
func published(t *testing.T, opts *suite.ConformanceOptions) []string {
	t.Helper()
	var class gatewayv1.GatewayClass
	err := opts.Client.Get(t.Context(), types.NamespacedName{Name: opts.GatewayClassName}, &class)
	require.NoError(t, err, "reading the GatewayClass")
	var names []string
	for _, feature := range class.Status.SupportedFeatures {
		names = append(names, string(feature.Name))
	}
	return names
}

func intersection(of, with []string) []string {
	return slices.DeleteFunc(slices.Clone(of), func(name string) bool { return !slices.Contains(with, name) })
}

// expected counts the tests that will run, for the progress alone.
func expected(t *testing.T, opts suite.ConformanceOptions, chosen []string) int {
	t.Helper()
	if len(chosen) > 0 {
		return len(chosen)
	}
	if opts.RunTest != "" {
		return 1
	}
	var supported []string
	for _, name := range opts.SupportedFeatures {
		supported = append(supported, string(name))
	}
	if len(supported) == 0 {
		supported = published(t, &opts)
	}
	return len(catalogue.Tests(append(supported, catalogue.CoreFeatures(profilesOf(t, &opts)...)...)))
}

func suiteTests(observer *evidence.Observer, chosen []string) []suite.ConformanceTest {
	var run []suite.ConformanceTest
	for _, test := range tests.ConformanceTests {
		if len(chosen) == 0 || slices.Contains(chosen, test.ShortName) {
			run = append(run, observer.Timed(test))
		}
	}
	return run
}

// writeDown writes the suite's report as the suite itself would, and the evidence.
func writeDown(t *testing.T, cSuite *suite.ConformanceTestSuite, observer *evidence.Observer, used evidence.Options) {
	seen, faults := observer.Evidence()
	for _, fault := range faults {
		t.Errorf("the tenant could not be looked at: %v", fault)
	}
	if *folder == "" {
		return
	}
	report, err := cSuite.Report()
	require.NoError(t, err, "making the report")
	slices.SortFunc(report.ProfileReports, func(a, b confv1.ProfileReport) int { return strings.Compare(a.Name, b.Name) })
	text, err := yaml.Marshal(report)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(*folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(*folder, "report.yaml"), text, 0o644))
	seen.Options, seen.Commit, seen.UncommittedChanges = used, *commit, *dirty
	seen.HubAddressPool = split(*pool)
	require.NoError(t, seen.Write(filepath.Join(*folder, "evidence.yaml")))
	fmt.Println("report and evidence are in", *folder)
}
