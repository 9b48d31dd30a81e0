// Package evidence is what a run writes down beside the suite's report: what the report leaves out and a
// reader would have to believe otherwise.
package evidence

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

// Evidence of one run.
type Evidence struct {
	// Commit that was built and run, and whether files were changed that it does not hold.
	Commit             string `json:"commit"`
	UncommittedChanges bool   `json:"uncommittedChanges"`
	// Began and Seconds bound the whole run, the suite's set-up included.
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Options Options   `json:"options"`
	// HubAddressPool is where the hub's addresses come from, as CIDRs.
	HubAddressPool []string `json:"hubAddressPool"`
	// GatewayAddresses are all that Gateways showed in their status during the run.
	GatewayAddresses []string `json:"gatewayAddresses"`
	// Controllers are those of all GatewayClasses in the tenant during the run.
	Controllers []string `json:"controllers"`
	// TenantImages are those of all pods in the tenant cluster during the run.
	TenantImages []string `json:"tenantImages"`
	Tests        []Test   `json:"tests"`
}

// Options of the suite that can weaken what it says.
type Options struct {
	GatewayClass         string   `json:"gatewayClass"`
	Profiles             []string `json:"profiles"`
	SupportedFeatures    []string `json:"supportedFeatures,omitempty"`
	AllFeatures          bool     `json:"allFeatures,omitempty"`
	ExemptFeatures       []string `json:"exemptFeatures,omitempty"`
	Only                 []string `json:"only,omitempty"`
	SkipTests            []string `json:"skipTests,omitempty"`
	SkipProvisionalTests bool     `json:"skipProvisionalTests,omitempty"`
	AllowCRDsMismatch    bool     `json:"allowCRDsMismatch,omitempty"`
	FailFast             bool     `json:"failFast,omitempty"`
	// TimeoutOverrides are the suite's time-outs that are not as it ships them.
	TimeoutOverrides []string `json:"timeoutOverrides,omitempty"`
}

// Outcome of a test.
type Outcome string

// Outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Test that was run, or passed over.
type Test struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	// Start is in seconds after the run's beginning.
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
}

// OptionsOf takes down what the suite was told.
func OptionsOf(from suite.ConfigurableOptions, only []string) Options {
	var profiles, supported, exempt []string
	for _, name := range from.ConformanceProfiles {
		profiles = append(profiles, string(name))
	}
	for _, name := range from.SupportedFeatures {
		supported = append(supported, string(name))
	}
	for _, name := range from.ExemptFeatures {
		exempt = append(exempt, string(name))
	}
	if from.RunTest != "" {
		only = append(slices.Clone(only), from.RunTest)
	}
	return Options{
		GatewayClass:         from.GatewayClassName,
		Profiles:             profiles,
		SupportedFeatures:    supported,
		AllFeatures:          from.EnableAllSupportedFeatures,
		ExemptFeatures:       exempt,
		Only:                 only,
		SkipTests:            from.SkipTests,
		SkipProvisionalTests: from.SkipProvisionalTests,
		AllowCRDsMismatch:    from.AllowCRDsMismatch,
		FailFast:             from.FailFast,
		TimeoutOverrides:     timeoutOverrides(from.TimeoutConfig),
	}
}

// timeoutOverrides names what differs from the suite's defaults, field by field, so that a field that a later
// suite adds counts without a change here.
func timeoutOverrides(used config.TimeoutConfig) []string {
	var changed []string
	config.SetupTimeoutConfig(&used)
	shipped := config.DefaultTimeoutConfig()
	mine, theirs := reflect.ValueOf(used), reflect.ValueOf(shipped)
	for index := range mine.NumField() {
		if !mine.Field(index).Equal(theirs.Field(index)) {
			changed = append(changed, fmt.Sprintf("%s: %v instead of %v", mine.Type().Field(index).Name,
				mine.Field(index).Interface(), theirs.Field(index).Interface()))
		}
	}
	return changed
}

// Read reads a file that Write wrote. A field that is not known is an error: it could be one that matters.
func Read(path string) (Evidence, error) {
	var found Evidence
	text, err := os.ReadFile(path)
	if err != nil {
		return found, err
	}
	if err := yaml.UnmarshalStrict(text, &found); err != nil {
		return found, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

// Write writes it as YAML.
func (e Evidence) Write(path string) error {
	text, err := yaml.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
