// Package conformance runs the Gateway API's own conformance suite against a tenant cluster.
//
// It adds no test. It says which class, which profiles and which implementation are meant, and leaves every
// flag of the suite in force (see README.md).
package conformance

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/flags"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// gatewayClass is the class that the CCM serves in a tenant cluster.
const gatewayClass = "kubelb"

// profiles are those whose route kinds are served. A profile's core features are implied by naming it.
var profiles = []suite.ConformanceProfileName{
	suite.GatewayHTTPConformanceProfileName,
	suite.GatewayGRPCConformanceProfileName,
}

// smokeTests prove that a Gateway gets an address, that an HTTPRoute serves traffic on it, and that the
// GatewayClass is reconciled. The suite's set-up also waits for its four base Gateways to be programmed.
var smokeTests = []string{
	"GatewayClassObservedGenerationBump",
	"HTTPRouteSimpleSameNamespace",
}

// TestConformance runs every test whose features the GatewayClass lists, and writes the report that
// -report-output asks for.
func TestConformance(t *testing.T) {
	conformance.RunConformanceWithOptions(t, options(t))
}

// TestSmoke runs smokeTests only, in about a minute. It writes no report.
func TestSmoke(t *testing.T) {
	smoke, err := suite.NewConformanceTestSuite(options(t))
	require.NoError(t, err, "the suite refuses its options")
	chosen := slices.DeleteFunc(slices.Clone(tests.ConformanceTests), func(test suite.ConformanceTest) bool {
		return !slices.Contains(smokeTests, test.ShortName)
	})
	require.Len(t, chosen, len(smokeTests), "the suite does not know every smoke test")
	smoke.Setup(t, chosen)
	require.NoError(t, smoke.Run(t, chosen))
}

// options reads the suite's flags and fills in what they leave open. A flag always wins.
func options(t *testing.T) suite.ConformanceOptions {
	t.Helper()
	opts := conformance.DefaultOptions(t)
	if opts.GatewayClassName == flags.DefaultGatewayClassName {
		opts.GatewayClassName = gatewayClass
	}
	if len(opts.ConformanceProfiles) == 0 {
		opts.ConformanceProfiles = profiles
	}
	// A report must name all five; a published one passes real values by flag.
	implementation := &opts.Implementation
	setDefault(&implementation.Organization, "kubelb")
	setDefault(&implementation.Project, "kubelb")
	setDefault(&implementation.URL, "unpublished")
	setDefault(&implementation.Version, "development")
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
