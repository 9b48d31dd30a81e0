package verdict

import (
	"fmt"
	"slices"
	"strings"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"

	"kubelb.k8c.io/conformance/internal/catalogue"
	"kubelb.k8c.io/conformance/internal/evidence"
)

// Table shows a run: a line a profile, and what failed. A profile's time is that in which at least one test
// that counts for it ran; the last line's is the run's, with the suite's set-up.
func Table(report confv1.ConformanceReport, seen evidence.Evidence) string {
	var out strings.Builder
	line := func(name, core, extended string, failed, skipped uint32, seconds float64) {
		fmt.Fprintf(&out, "%-14s %9s %9s %7d %8d %8s\n", name, core, extended, failed, skipped, clock(seconds))
	}
	fmt.Fprintf(&out, "%-14s %9s %9s %7s %8s %8s\n", "profile", "core", "extended", "failed", "skipped", "time")
	for _, profile := range catalogue.Profiles() {
		index := slices.IndexFunc(report.ProfileReports, func(p confv1.ProfileReport) bool {
			return p.Name == profile.Name
		})
		if index < 0 {
			continue
		}
		reported := report.ProfileReports[index]
		extended := confv1.Status{}
		if reported.Extended != nil {
			extended = reported.Extended.Status
		}
		line(profile.Name,
			fmt.Sprintf("%d/%d", reported.Core.Passed, len(profile.CoreTests)),
			fmt.Sprintf("%d/%d", extended.Passed, len(profile.ExtendedTests)),
			reported.Core.Failed+extended.Failed, reported.Core.Skipped+extended.Skipped,
			busy(seen.Tests, slices.Concat(profile.CoreTests, profile.ExtendedTests)))
	}
	passed, failed := count(seen.Tests, evidence.Passed), count(seen.Tests, evidence.Failed)
	fmt.Fprintf(&out, "%-14s %19s %7d %8s %8s\n", "all tests",
		fmt.Sprintf("%d/%d", passed, len(catalogue.GatewayTests())), failed, "", clock(seen.Seconds))
	for _, test := range seen.Tests {
		if test.Outcome == evidence.Failed {
			fmt.Fprintf(&out, "failed: %s (%.0fs)\n", test.Name, test.Seconds)
		}
	}
	return out.String()
}

func count(tests []evidence.Test, outcome evidence.Outcome) int {
	total := 0
	for _, test := range tests {
		if test.Outcome == outcome {
			total++
		}
	}
	return total
}

// busy measures the union of the tests' spans: tests that run side by side count once.
func busy(tests []evidence.Test, names []string) float64 {
	var spans [][2]float64
	for _, test := range tests {
		if test.Outcome != evidence.Skipped && slices.Contains(names, test.Name) {
			spans = append(spans, [2]float64{test.Start, test.Start + test.Seconds})
		}
	}
	slices.SortFunc(spans, func(a, b [2]float64) int {
		if a[0] < b[0] {
			return -1
		}
		return 1
	})
	total, until := 0.0, 0.0
	for _, span := range spans {
		from := max(span[0], until)
		if span[1] > from {
			total += span[1] - from
			until = span[1]
		}
	}
	return total
}

func clock(seconds float64) string {
	whole := int(seconds + 0.5)
	return fmt.Sprintf("%d:%02d", whole/60, whole%60)
}
