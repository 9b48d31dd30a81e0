package evidence

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// lookLimit bounds one look at the tenant cluster.
const lookLimit = 20 * time.Second

// Observer watches a run: it times the suite's tests, looks at the tenant cluster while each one's objects
// still stand, and tells the progress. It changes nothing.
type Observer struct {
	began    time.Time
	client   client.Client
	progress io.Writer
	total    int

	lock        sync.Mutex
	tests       []Test
	starts      map[string]time.Time
	addresses   map[string]bool
	controllers map[string]bool
	images      map[string]bool
	faults      []error
}

// NewObserver begins the run. `total` is how many tests are to be run.
func NewObserver(tenant client.Client, progress io.Writer, total int) *Observer {
	return &Observer{
		began: time.Now(), client: tenant, progress: progress, total: total,
		starts:    map[string]time.Time{},
		addresses: map[string]bool{}, controllers: map[string]bool{}, images: map[string]bool{},
	}
}

// Timed gives the same test, with its beginning noted and a look at the cluster at its end.
func (o *Observer) Timed(test suite.ConformanceTest) suite.ConformanceTest {
	inner := test.Test
	test.Test = func(t *testing.T, s *suite.ConformanceTestSuite) {
		o.lock.Lock()
		o.starts[test.ShortName] = time.Now()
		o.lock.Unlock()
		// Deferred, since a test that fails leaves its function early.
		defer o.Look(t.Context())
		inner(t, s)
	}
	return test
}

// Look takes down the addresses, classes and images that are there now.
func (o *Observer) Look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var gateways gatewayv1.GatewayList
	var classes gatewayv1.GatewayClassList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&gateways, &classes, &pods} {
		if err := o.client.List(ctx, list); err != nil {
			o.lock.Lock()
			o.faults = append(o.faults, err)
			o.lock.Unlock()
			return
		}
	}
	o.lock.Lock()
	defer o.lock.Unlock()
	for _, gateway := range gateways.Items {
		for _, address := range gateway.Status.Addresses {
			o.addresses[address.Value] = true
		}
	}
	for _, class := range classes.Items {
		o.controllers[string(class.Spec.ControllerName)] = true
	}
	for _, pod := range pods.Items {
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			o.images[container.Image] = true
		}
	}
}

// Ended is the suite's hook after a test, when its objects are gone.
func (o *Observer) Ended(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	now := time.Now()
	outcome := Passed
	switch {
	case t.Failed():
		outcome = Failed
	case t.Skipped():
		outcome = Skipped
	}
	o.lock.Lock()
	defer o.lock.Unlock()
	start, ran := o.starts[test.ShortName]
	if !ran {
		start = now
	}
	o.tests = append(o.tests, Test{
		Name: test.ShortName, Outcome: outcome,
		Start: tenths(start.Sub(o.began)), Seconds: tenths(now.Sub(start)),
	})
	if outcome != Skipped {
		o.tell(outcome, test.ShortName, now.Sub(start))
	}
}

func (o *Observer) tell(outcome Outcome, name string, took time.Duration) {
	done, failed := 0, 0
	for _, test := range o.tests {
		if test.Outcome != Skipped {
			done++
		}
		if test.Outcome == Failed {
			failed++
		}
	}
	mark := "ok    "
	if outcome == Failed {
		mark = "FAILED"
	}
	failures := ""
	if failed > 0 {
		failures = fmt.Sprintf(", %d failed", failed)
	}
	fmt.Fprintf(o.progress, "[%4.0fs %3d/%d%s] %s %s (%.1fs)\n",
		time.Since(o.began).Seconds(), done, o.total, failures, mark, name, took.Seconds())
}

// Evidence gives what was seen, and what could not be looked at.
func (o *Observer) Evidence() (Evidence, []error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	all := slices.SortedFunc(slices.Values(o.tests), func(a, b Test) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return Evidence{
		Began: o.began.UTC().Truncate(time.Second), Seconds: tenths(time.Since(o.began)), Tests: all,
		GatewayAddresses: slices.Sorted(maps.Keys(o.addresses)),
		Controllers:      slices.Sorted(maps.Keys(o.controllers)),
		TenantImages:     slices.Sorted(maps.Keys(o.images)),
	}, o.faults
}

func tenths(d time.Duration) float64 {
	return d.Round(100 * time.Millisecond).Seconds()
}
