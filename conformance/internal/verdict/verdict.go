// Package verdict judges a run by the suite's own demands. It is pure: report and evidence in, faults out.
package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"kubelb.k8c.io/conformance/internal/catalogue"
	"kubelb.k8c.io/conformance/internal/evidence"
)

// Scope is how much of the suite a run has to show.
type Scope string

// Scopes.
const (
	// Whole is every test that needs no mesh, and every feature of the five profiles for Gateways.
	Whole Scope = "whole"
	// Core is the core tests of the five profiles.
	Core Scope = "core"
	// Narrowed is what the run was narrowed to: it says nothing about the rest.
	Narrowed Scope = "narrowed"
)

// ourController is the only one whose GatewayClasses a tenant may have.
const ourController = "kubelb.k8c.io/gateway-controller"

// proxies are words in the names of images that could answer requests in the CCM's place.
var proxies = []string{
	"envoy", "nginx", "haproxy", "traefik", "istio", "cilium", "kong", "contour", "linkerd", "agentgateway", "kgateway",
}

// Faults lists everything that keeps a run from showing what its scope claims.
func Faults(scope Scope, report confv1.ConformanceReport, seen evidence.Evidence) []string {
	var faults list
	faults.suite(report)
	faults.options(scope, seen.Options)
	faults.tests(scope, seen)
	if scope != Narrowed {
		faults.profiles(scope, report)
	}
	faults.tenant(seen)
	faults.addresses(scope, seen)
	return faults
}

// CommitFaults lists what keeps a report from speaking for a commit.
func CommitFaults(report confv1.ConformanceReport, seen evidence.Evidence) []string {
	var faults list
	if len(seen.Commit) != 40 {
		faults.add("the evidence names no commit: %q", seen.Commit)
	}
	if seen.UncommittedChanges {
		faults.add("the tree had changes that commit %s does not hold", seen.Commit)
	}
	if seen.Commit == "" || !strings.HasSuffix(report.Version, "+"+seen.Commit) {
		faults.add("the report's version %q does not name the commit %s", report.Version, seen.Commit)
	}
	return faults
}

type list []string

func (l *list) add(format string, arguments ...any) {
	*l = append(*l, fmt.Sprintf(format, arguments...))
}

func (l *list) suite(report confv1.ConformanceReport) {
	if report.GatewayAPIVersion != consts.BundleVersion {
		l.add("the cluster's Gateway API is %s, the suite is of %s", report.GatewayAPIVersion, consts.BundleVersion)
	}
	if report.GatewayAPIChannel != "experimental" && report.GatewayAPIChannel != "standard" {
		l.add("the channel of the cluster's Gateway API is %s", report.GatewayAPIChannel)
	}
}

func (l *list) options(scope Scope, used evidence.Options) {
	allowed := []string(nil)
	if scope == Core {
		allowed = catalogue.CoreFeatures(catalogue.Profiles()...)
	}
	if scope != Narrowed && !slices.Equal(used.SupportedFeatures, allowed) {
		l.add("features were named by hand instead of read from the GatewayClass: %v", used.SupportedFeatures)
	}
	if scope != Narrowed && len(used.Only) > 0 {
		l.add("only some tests were run: %v", used.Only)
	}
	if used.AllFeatures {
		l.add("all features were switched on by hand")
	}
	if len(used.ExemptFeatures) > 0 {
		l.add("features were exempted: %v", used.ExemptFeatures)
	}
	if len(used.SkipTests) > 0 {
		l.add("tests were skipped by an option: %v", used.SkipTests)
	}
	if used.SkipProvisionalTests {
		l.add("provisional tests were skipped")
	}
	if used.AllowCRDsMismatch {
		l.add("a mismatch of CRDs was allowed")
	}
	if used.FailFast {
		l.add("the run was to end at the first failure")
	}
	if len(used.TimeoutOverrides) > 0 {
		l.add("time-outs were overridden: %v", used.TimeoutOverrides)
	}
}

// tests compares by name, so that a test that was never called is as loud as one that failed.
func (l *list) tests(scope Scope, seen evidence.Evidence) {
	outcomes := map[string]evidence.Outcome{}
	for _, test := range seen.Tests {
		if _, twice := outcomes[test.Name]; twice {
			l.add("test %s is there twice", test.Name)
		}
		outcomes[test.Name] = test.Outcome
	}
	for _, name := range wanted(scope, outcomes) {
		switch outcomes[name] {
		case evidence.Passed:
		case evidence.Failed:
			l.add("test %s failed", name)
		case evidence.Skipped:
			l.add("test %s was skipped", name)
		default:
			l.add("test %s did not run", name)
		}
	}
}

func wanted(scope Scope, outcomes map[string]evidence.Outcome) []string {
	switch scope {
	case Whole:
		return catalogue.GatewayTests()
	case Core:
		return catalogue.Tests(catalogue.CoreFeatures(catalogue.Profiles()...))
	}
	var ran []string
	for name, outcome := range outcomes {
		if outcome != evidence.Skipped {
			ran = append(ran, name)
		}
	}
	slices.Sort(ran)
	if len(ran) == 0 {
		return []string{"(any)"}
	}
	return ran
}

func (l *list) profiles(scope Scope, report confv1.ConformanceReport) {
	reported := map[string]confv1.ProfileReport{}
	for _, profile := range report.ProfileReports {
		if _, twice := reported[profile.Name]; twice {
			l.add("%s is in the report twice", profile.Name)
		}
		reported[profile.Name] = profile
	}
	for _, demanded := range catalogue.Profiles() {
		profile, found := reported[demanded.Name]
		if !found {
			l.add("%s is not in the report", demanded.Name)
			continue
		}
		l.status(demanded.Name+" core", profile.Core, len(demanded.CoreTests))
		if scope == Whole {
			l.extended(demanded, profile.Extended)
		}
	}
}

func (l *list) extended(demanded catalogue.Profile, status *confv1.ExtendedStatus) {
	if status == nil {
		l.add("%s has no extended part", demanded.Name)
		return
	}
	l.status(demanded.Name+" extended", status.Status, len(demanded.ExtendedTests))
	if len(status.UnsupportedFeatures) > 0 {
		l.add("%s leaves features out: %v", demanded.Name, status.UnsupportedFeatures)
	}
	for _, feature := range demanded.ExtendedFeatures {
		if !slices.Contains(status.SupportedFeatures, feature) {
			l.add("%s does not claim %s", demanded.Name, feature)
		}
	}
}

func (l *list) status(what string, status confv1.Status, tests int) {
	if status.Result != confv1.Success {
		l.add("%s is %q", what, status.Result)
	}
	if status.Skipped != 0 || len(status.SkippedTests) > 0 {
		l.add("%s skipped %d tests: %v", what, status.Skipped, status.SkippedTests)
	}
	if status.Failed != 0 || len(status.FailedTests) > 0 {
		l.add("%s failed %d tests: %v", what, status.Failed, status.FailedTests)
	}
	if int(status.Passed) != tests {
		l.add("%s passed %d tests of %d", what, status.Passed, tests)
	}
}

func (l *list) tenant(seen evidence.Evidence) {
	if len(seen.TenantImages) == 0 {
		l.add("no pod of the tenant was seen")
	}
	for _, image := range seen.TenantImages {
		for _, proxy := range proxies {
			if strings.Contains(strings.ToLower(image), proxy) {
				l.add("the tenant ran a proxy: %s", image)
			}
		}
	}
	if len(seen.Controllers) == 0 {
		l.add("no GatewayClass of the tenant was seen")
	}
	for _, controller := range seen.Controllers {
		if controller != ourController {
			l.add("the tenant had a GatewayClass of another controller: %s", controller)
		}
	}
}

func (l *list) addresses(scope Scope, seen evidence.Evidence) {
	if len(seen.GatewayAddresses) == 0 {
		l.add("no Gateway showed an address")
	}
	if len(seen.HubAddressPool) == 0 {
		if scope != Narrowed {
			l.add("the hub's address pool is not known")
		}
		return
	}
	var pool []netip.Prefix
	for _, text := range seen.HubAddressPool {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			l.add("the hub's address pool is malformed: %v", err)
			continue
		}
		pool = append(pool, prefix)
	}
	for _, text := range seen.GatewayAddresses {
		address, err := netip.ParseAddr(text)
		in := func(prefix netip.Prefix) bool { return prefix.Contains(address) }
		if err != nil || !slices.ContainsFunc(pool, in) {
			l.add("a Gateway showed %s, which is not in the hub's pool %v", text, seen.HubAddressPool)
		}
	}
}
