package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"kubelb.k8c.io/conformance/internal/catalogue"
	"kubelb.k8c.io/conformance/internal/evidence"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// perfect is a run in which everything is as it must be.
func perfect() (confv1.ConformanceReport, evidence.Evidence) {
	report := confv1.ConformanceReport{
		GatewayAPIVersion: consts.BundleVersion, GatewayAPIChannel: "experimental",
		Implementation: confv1.Implementation{Version: "v0.1.0+" + commit},
	}
	for _, profile := range catalogue.Profiles() {
		report.ProfileReports = append(report.ProfileReports, confv1.ProfileReport{
			Name: profile.Name, Core: success(len(profile.CoreTests)),
			Extended: &confv1.ExtendedStatus{
				Status:            success(len(profile.ExtendedTests)),
				SupportedFeatures: profile.ExtendedFeatures,
			},
		})
	}
	seen := evidence.Evidence{
		Commit: commit, HubAddressPool: []string{"10.70.32.0/19"}, GatewayAddresses: []string{"10.70.32.1", "10.70.63.254"},
		Controllers:  []string{ourController},
		TenantImages: []string{"registry.k8s.io/gateway-api/echo-basic:v1.5.1", "docker.io/kubelb/kubelb-ccm:1"},
	}
	for index, name := range catalogue.GatewayTests() {
		seen.Tests = append(seen.Tests, evidence.Test{
			Name: name, Outcome: evidence.Passed, Start: float64(index), Seconds: 1,
		})
	}
	return report, seen
}

func success(tests int) confv1.Status {
	return confv1.Status{Result: confv1.Success, Statistics: confv1.Statistics{Passed: uint32(tests)}}
}

func TestAPerfectRunHasNoFault(t *testing.T) {
	report, seen := perfect()
	require.Empty(t, Faults(Whole, report, seen))
	require.Empty(t, CommitFaults(report, seen))
}

// bad are runs that look good at first sight, each with the words that its fault must have.
var bad = map[string]struct {
	fault string
	spoil func(*confv1.ConformanceReport, *evidence.Evidence)
}{
	"a feature is left out": {"GATEWAY-HTTP leaves features out: [HTTPRouteCORS]", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[0].Extended.UnsupportedFeatures = []string{"HTTPRouteCORS"}
	}},
	"a feature is neither claimed nor left out": {"GATEWAY-TLS does not claim TLSRouteModeMixed", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		of := r.ProfileReports[2].Extended
		of.SupportedFeatures = slices.DeleteFunc(slices.Clone(of.SupportedFeatures), func(name string) bool {
			return name == "TLSRouteModeMixed"
		})
	}},
	"a profile is missing": {"GATEWAY-UDP is not in the report", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports = r.ProfileReports[:4]
	}},
	"a profile is there twice": {"GATEWAY-HTTP is in the report twice", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports = append(r.ProfileReports, r.ProfileReports[0])
	}},
	"a profile has no extended part": {"GATEWAY-GRPC has no extended part", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[1].Extended = nil
	}},
	"core is partial": {`GATEWAY-HTTP core is "partial"`, func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[0].Core.Result = confv1.Partial
	}},
	"extended failed": {`GATEWAY-TCP extended is "failure"`, func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[3].Extended.Result = confv1.Failure
	}},
	"a test is counted as skipped": {"GATEWAY-HTTP core skipped 1 tests", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[0].Core.Skipped = 1
	}},
	"a test is counted as failed": {"GATEWAY-HTTP extended failed 1 tests", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[0].Extended.Failed = 1
	}},
	"fewer tests passed than the suite has": {"GATEWAY-HTTP core passed 35 tests of 36", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.ProfileReports[0].Core.Passed = 35
	}},
	"a test never ran": {"test HTTPRouteDisallowedKind did not run", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Tests = slices.DeleteFunc(e.Tests, func(test evidence.Test) bool { return test.Name == "HTTPRouteDisallowedKind" })
	}},
	"a test was skipped": {"test GRPCRouteNamedRule was skipped", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Tests[index(e, "GRPCRouteNamedRule")].Outcome = evidence.Skipped
	}},
	"a test failed": {"test UDPRoute failed", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Tests[index(e, "UDPRoute")].Outcome = evidence.Failed
	}},
	"a test is there twice": {"test UDPRoute is there twice", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Tests = append(e.Tests, e.Tests[index(e, "UDPRoute")])
	}},
	"the features are ours": {"features were named by hand", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.SupportedFeatures = []string{"Gateway"}
	}},
	"all features by hand": {"all features were switched on", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.AllFeatures = true
	}},
	"an exemption": {"features were exempted", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.ExemptFeatures = []string{"HTTPRouteCORS"}
	}},
	"a skip": {"tests were skipped by an option", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.SkipTests = []string{"UDPRoute"}
	}},
	"no provisional tests": {"provisional tests were skipped", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.SkipProvisionalTests = true
	}},
	"one test only": {"only some tests were run", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.Only = []string{"UDPRoute"}
	}},
	"other CRDs allowed": {"a mismatch of CRDs was allowed", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.AllowCRDsMismatch = true
	}},
	"other CRDs": {"the cluster's Gateway API is UNDEFINED", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.GatewayAPIVersion = "UNDEFINED"
	}},
	"no channel": {"the channel of the cluster's Gateway API is UNDEFINED", func(r *confv1.ConformanceReport, _ *evidence.Evidence) {
		r.GatewayAPIChannel = "UNDEFINED"
	}},
	"more time": {"time-outs were overridden", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Options.TimeoutOverrides = []string{"MaxTimeToConsistency: 1m0s instead of 30s"}
	}},
	"an Envoy in the tenant": {"the tenant ran a proxy: docker.io/envoyproxy/envoy:v1", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.TenantImages = append(e.TenantImages, "docker.io/envoyproxy/envoy:v1")
	}},
	"another controller in the tenant": {"a GatewayClass of another controller: example.com/other", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.Controllers = append(e.Controllers, "example.com/other")
	}},
	"nobody looked at the tenant": {"no pod of the tenant was seen", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.TenantImages = nil
	}},
	"an address of the tenant": {"a Gateway showed 172.18.0.5", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.GatewayAddresses = append(e.GatewayAddresses, "172.18.0.5")
	}},
	"a host name for an address": {"a Gateway showed localhost", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.GatewayAddresses = append(e.GatewayAddresses, "localhost")
	}},
	"no address": {"no Gateway showed an address", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.GatewayAddresses = nil
	}},
	"no pool": {"the hub's address pool is not known", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.HubAddressPool = nil
	}},
	"a malformed pool": {"the hub's address pool is malformed", func(_ *confv1.ConformanceReport, e *evidence.Evidence) {
		e.HubAddressPool = []string{"everywhere"}
	}},
}

func TestEachBadRunHasItsFault(t *testing.T) {
	for name, of := range bad {
		t.Run(name, func(t *testing.T) {
			report, seen := perfect()
			of.spoil(&report, &seen)
			requireFault(t, Faults(Whole, report, seen), of.fault)
		})
	}
}

func TestAReportSpeaksForACommitOnly(t *testing.T) {
	report, seen := perfect()
	seen.UncommittedChanges = true
	requireFault(t, CommitFaults(report, seen), "changes that commit")
	report, seen = perfect()
	report.Version = "v0.1.0"
	requireFault(t, CommitFaults(report, seen), "does not name the commit")
	report, seen = perfect()
	seen.Commit, report.Version = "", "v0.1.0+"
	requireFault(t, CommitFaults(report, seen), "names no commit")
}

func TestTheCoreNeedsNoExtendedPart(t *testing.T) {
	report, seen := perfect()
	core := catalogue.CoreFeatures(catalogue.Profiles()...)
	seen.Options.SupportedFeatures = core
	for index := range report.ProfileReports {
		report.ProfileReports[index].Extended = nil
	}
	for index := range seen.Tests {
		if !slices.Contains(catalogue.Tests(core), seen.Tests[index].Name) {
			seen.Tests[index].Outcome = evidence.Skipped
		}
	}
	require.Empty(t, Faults(Core, report, seen))
	seen.Tests[index(&seen, "HTTPRouteWeight")].Outcome = evidence.Skipped
	requireFault(t, Faults(Core, report, seen), "test HTTPRouteWeight was skipped")
}

func TestANarrowedRunIsJudgedByWhatRan(t *testing.T) {
	report, seen := perfect()
	seen.Options.Only = []string{"UDPRoute"}
	seen.Tests = []evidence.Test{{Name: "UDPRoute", Outcome: evidence.Passed}}
	report.ProfileReports, seen.HubAddressPool = nil, nil
	require.Empty(t, Faults(Narrowed, report, seen))
	seen.Tests[0].Outcome = evidence.Failed
	requireFault(t, Faults(Narrowed, report, seen), "test UDPRoute failed")
	seen.Tests = nil
	requireFault(t, Faults(Narrowed, report, seen), "did not run")
}

func TestTestsSideBySideCountOnce(t *testing.T) {
	tests := []evidence.Test{
		{Name: "a", Outcome: evidence.Passed, Start: 0, Seconds: 10},
		{Name: "b", Outcome: evidence.Passed, Start: 5, Seconds: 10},
		{Name: "c", Outcome: evidence.Passed, Start: 6, Seconds: 1},
		{Name: "d", Outcome: evidence.Failed, Start: 20, Seconds: 5},
		{Name: "other", Outcome: evidence.Passed, Start: 15, Seconds: 100},
	}
	require.InDelta(t, 20, busy(tests, []string{"a", "b", "c", "d"}), 0.01)
}

func TestTheTableNamesProfilesAndFailures(t *testing.T) {
	report, seen := perfect()
	seen.Seconds = 754
	seen.Tests[index(&seen, "UDPRoute")].Outcome = evidence.Failed
	lines := strings.Split(strings.TrimSpace(Table(report, seen)), "\n")
	require.Len(t, lines, 8)
	require.Equal(t, "GATEWAY-HTTP       36/36     58/58       0        0     1:34", lines[1])
	require.Equal(t, "all tests                  130/131       1             12:34", lines[6])
	require.Equal(t, "failed: UDPRoute (1s)", lines[7])
}

func index(seen *evidence.Evidence, name string) int {
	return slices.IndexFunc(seen.Tests, func(test evidence.Test) bool { return test.Name == name })
}

func requireFault(t *testing.T, faults []string, part string) {
	t.Helper()
	has := func(fault string) bool { return strings.Contains(fault, part) }
	require.True(t, slices.ContainsFunc(faults, has), "no fault has %q: %v", part, faults)
}
