package catalogue

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheProfilesAreAsLargeAsTheSuiteSays(t *testing.T) {
	sizes := map[string][4]int{}
	for _, of := range Profiles() {
		sizes[of.Name] = [4]int{
			len(of.CoreFeatures), len(of.ExtendedFeatures), len(of.CoreTests), len(of.ExtendedTests),
		}
	}
	require.Equal(t, map[string][4]int{
		"GATEWAY-HTTP": {3, 38, 36, 58},
		"GATEWAY-GRPC": {3, 10, 14, 11},
		"GATEWAY-TLS":  {3, 12, 19, 16},
		"GATEWAY-TCP":  {3, 11, 18, 11},
		"GATEWAY-UDP":  {3, 11, 19, 11},
	}, sizes)
	require.Len(t, GatewayTests(), 131)
}

func TestEveryTestThatNeedsNoMeshRunsWithTheFeaturesForGateways(t *testing.T) {
	require.Equal(t, GatewayTests(), Tests(GatewayFeatures()))
}

func TestOneFeatureIsInNoProfile(t *testing.T) {
	extra := slices.DeleteFunc(GatewayFeatures(), func(name string) bool {
		return slices.Contains(Features(Profiles()...), name)
	})
	require.Equal(t, []string{"GRPCRouteNamedRouteRule"}, extra)
}

func TestAProfileIsFoundByItsShortName(t *testing.T) {
	for _, name := range []string{"http", "HTTP", " GATEWAY-HTTP"} {
		found, ok := ProfileNamed(name)
		require.True(t, ok, name)
		require.Equal(t, "GATEWAY-HTTP", found.Name)
	}
	_, ok := ProfileNamed("MESH-HTTP")
	require.False(t, ok)
}

func TestCoreIsAPartOfTheWhole(t *testing.T) {
	core := Tests(CoreFeatures(Profiles()...))
	for _, of := range Profiles() {
		for _, name := range of.CoreTests {
			require.True(t, slices.Contains(core, name), name)
		}
	}
	require.Less(t, len(core), len(GatewayTests()))
}

func TestACoreRunClaimsWhatItsTestsAskAbout(t *testing.T) {
	tls, found := ProfileNamed("TLS")
	require.True(t, found)
	claimed := CoreFeatures(tls)
	for _, name := range askedAbout {
		require.Contains(t, tls.ExtendedFeatures, name, "the suite has no such feature any more")
		require.Contains(t, claimed, name)
	}
	http, found := ProfileNamed("HTTP")
	require.True(t, found)
	require.NotContains(t, CoreFeatures(http), askedAbout[0])
}
