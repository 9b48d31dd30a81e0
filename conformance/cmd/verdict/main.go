// Command verdict prints a run's table and says what keeps it from showing what it claims to show.
//
// It ends with 1 if there is any such fault, with 2 if it could not look.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/yaml"

	"kubelb.k8c.io/conformance/internal/evidence"
	"kubelb.k8c.io/conformance/internal/verdict"
)

func main() {
	folder := flag.String("folder", "reports", "folder with report.yaml and evidence.yaml of a run")
	scope := flag.String("scope", string(verdict.Whole), "what the run has to show: whole, core or narrowed")
	commit := flag.Bool("commit", false, "also demand that the run was of a commit and nothing else")
	flag.Parse()
	faults, err := judge(*folder, verdict.Scope(*scope), *commit)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, fault := range faults {
		fmt.Println("FAULT:", fault)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
	fmt.Printf("no fault (%s)\n", *scope)
}

func judge(folder string, scope verdict.Scope, commit bool) ([]string, error) {
	if !slices.Contains([]verdict.Scope{verdict.Whole, verdict.Core, verdict.Narrowed}, scope) {
		return nil, fmt.Errorf("there is no scope %q", scope)
	}
	seen, err := evidence.Read(folder + "/evidence.yaml")
	if err != nil {
		return nil, err
	}
	var report confv1.ConformanceReport
	text, err := os.ReadFile(folder + "/report.yaml")
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("%s/report.yaml: %w", folder, err)
	}
	fmt.Print(verdict.Table(report, seen))
	faults := verdict.Faults(scope, report, seen)
	if commit {
		faults = append(faults, verdict.CommitFaults(report, seen)...)
	}
	return faults, nil
}
