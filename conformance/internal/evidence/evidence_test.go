package evidence

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

func TestTheSuitesOwnTimeoutsAreNoOverride(t *testing.T) {
	require.Empty(t, timeoutOverrides(config.DefaultTimeoutConfig()))
	// The suite fills in what is left open.
	require.Empty(t, timeoutOverrides(config.TimeoutConfig{}))
}

func TestEveryTimeoutCounts(t *testing.T) {
	used := config.DefaultTimeoutConfig()
	config.ParseTimeoutOverrides(&used, "MaxTimeToConsistency:60;DeleteTimeout:90")
	require.Len(t, timeoutOverrides(used), 2)
	used = config.DefaultTimeoutConfig()
	used.RequiredConsecutiveSuccesses = 1
	require.Equal(t, []string{"RequiredConsecutiveSuccesses: 1 instead of 3"}, timeoutOverrides(used))
}

func TestEachOptionThatWeakensIsTakenDown(t *testing.T) {
	options := OptionsOf(suite.ConfigurableOptions{
		RunTest: "One", SkipTests: []string{"Two"}, SkipProvisionalTests: true, AllowCRDsMismatch: true,
		EnableAllSupportedFeatures: true, ExemptFeatures: []features.FeatureName{"Three"}, FailFast: true,
		SupportedFeatures: []features.FeatureName{"Four"}, TimeoutConfig: config.DefaultTimeoutConfig(),
	}, []string{"Five"})
	require.Equal(t, Options{
		Only: []string{"Five", "One"}, SkipTests: []string{"Two"}, SkipProvisionalTests: true,
		AllowCRDsMismatch: true, AllFeatures: true, ExemptFeatures: []string{"Three"}, FailFast: true,
		SupportedFeatures: []string{"Four"},
	}, options)
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evidence.yaml")
	want := Evidence{
		Commit: "abc", Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.5,
		Tests: []Test{{Name: "One", Outcome: Passed, Start: 1, Seconds: 0.5}},
	}
	require.NoError(t, want.Write(path))
	got, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, want.Tests, got.Tests)
	require.Equal(t, want.Began, got.Began)
}

func TestAFieldThatIsNotKnownIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evidence.yaml")
	require.NoError(t, os.WriteFile(path, []byte("commit: abc\nwaived: true\n"), 0o600))
	_, err := Read(path)
	require.ErrorContains(t, err, "waived")
}
