// Package catalogue says what the suite itself demands: its Gateway profiles, their features and their tests.
//
// Everything here is read from the suite's own tables, so that no list of ours can be shorter than its.
package catalogue

import (
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// Profile is one of the suite's profiles, with the tests that count for it.
type Profile struct {
	Name             string
	CoreFeatures     []string
	ExtendedFeatures []string
	CoreTests        []string
	ExtendedTests    []string
}

// Profiles gives the five profiles for Gateways. Those for meshes are not for a product that serves Gateways.
func Profiles() []Profile {
	var all []Profile
	for _, of := range gatewayProfiles() {
		all = append(all, profile(of))
	}
	return all
}

// Names gives the names of Profiles.
func Names() []string {
	var names []string
	for _, of := range gatewayProfiles() {
		names = append(names, string(of.Name))
	}
	return names
}

// ProfileNamed finds a profile by its name, with or without `GATEWAY-` and in any case.
func ProfileNamed(name string) (Profile, bool) {
	wanted := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "GATEWAY-")
	for _, of := range gatewayProfiles() {
		if strings.TrimPrefix(string(of.Name), "GATEWAY-") == wanted {
			return profile(of), true
		}
	}
	return Profile{}, false
}

// Features gives the core and extended features of some profiles, sorted.
func Features(profiles ...Profile) []string {
	set := map[string]bool{}
	for _, of := range profiles {
		for _, name := range slices.Concat(of.CoreFeatures, of.ExtendedFeatures) {
			set[name] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// GatewayFeatures gives the features of all profiles, and those that a test needs although no profile has them.
func GatewayFeatures() []string {
	set := map[string]bool{}
	for _, name := range Features(Profiles()...) {
		set[name] = true
	}
	for _, test := range tests.ConformanceTests {
		if NeedsMesh(test) {
			continue
		}
		for _, name := range test.Features {
			set[string(name)] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Extended features that core tests ask about: they want a listener refused where the feature is absent. A run of
// the core that did not claim what is there would fail them.
var askedAbout = []string{
	string(features.SupportTLSRouteModeTerminate),
	string(features.SupportTLSRouteModeMixed),
}

// CoreFeatures gives the core features of some profiles and the extended ones that their core tests ask about,
// sorted.
func CoreFeatures(profiles ...Profile) []string {
	set := map[string]bool{}
	for _, of := range profiles {
		for _, name := range of.CoreFeatures {
			set[name] = true
		}
		for _, name := range askedAbout {
			if slices.Contains(of.ExtendedFeatures, name) {
				set[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Tests gives the suite's tests that need no mesh and none but the given features, by name and sorted.
func Tests(allowed []string) []string {
	var names []string
	for _, test := range tests.ConformanceTests {
		if !NeedsMesh(test) && hasAll(allowed, test.Features) {
			names = append(names, test.ShortName)
		}
	}
	slices.Sort(names)
	return names
}

// GatewayTests gives every test of the suite that needs no mesh, by name and sorted.
func GatewayTests() []string {
	var names []string
	for _, test := range tests.ConformanceTests {
		if !NeedsMesh(test) {
			names = append(names, test.ShortName)
		}
	}
	slices.Sort(names)
	return names
}

// NeedsMesh says whether a test is for service meshes.
func NeedsMesh(test suite.ConformanceTest) bool {
	mesh := features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures)
	return slices.ContainsFunc(test.Features, func(name features.FeatureName) bool { return mesh.Has(name) })
}

func gatewayProfiles() []suite.ConformanceProfile {
	return []suite.ConformanceProfile{
		suite.GatewayHTTPConformanceProfile,
		suite.GatewayGRPCConformanceProfile,
		suite.GatewayTLSConformanceProfile,
		suite.GatewayTCPConformanceProfile,
		suite.GatewayUDPConformanceProfile,
	}
}

func profile(of suite.ConformanceProfile) Profile {
	found := Profile{
		Name:             string(of.Name),
		CoreFeatures:     texts(of.CoreFeatures.UnsortedList()),
		ExtendedFeatures: texts(of.ExtendedFeatures.UnsortedList()),
	}
	all := slices.Concat(found.CoreFeatures, found.ExtendedFeatures)
	for _, test := range tests.ConformanceTests {
		switch {
		case hasAll(found.CoreFeatures, test.Features):
			found.CoreTests = append(found.CoreTests, test.ShortName)
		case hasAll(all, test.Features):
			found.ExtendedTests = append(found.ExtendedTests, test.ShortName)
		}
	}
	slices.Sort(found.CoreTests)
	slices.Sort(found.ExtendedTests)
	return found
}

func hasAll(allowed []string, needed []features.FeatureName) bool {
	return !slices.ContainsFunc(needed, func(name features.FeatureName) bool {
		return !slices.Contains(allowed, string(name))
	})
}

func texts(names []features.FeatureName) []string {
	var all []string
	for _, name := range names {
		all = append(all, string(name))
	}
	slices.Sort(all)
	return all
}
