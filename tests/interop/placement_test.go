// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// twoCPUs are processors this process may use.
func twoCPUs(t *testing.T) (cpus [2]int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	if set.Count() < 2 {
		t.Skip("one processor")
	}
	for cpu, n := 0, 0; n < 2; cpu++ {
		if set.IsSet(cpu) {
			cpus[n] = cpu
			n++
		}
	}
	return cpus
}

// on runs fn on one processor, and so what the kernel does at once for the packets that it sends.
func on(t *testing.T, cpu int, fn func()) {
	t.Helper()
	var before, set unix.CPUSet
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set.Set(cpu)
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &before)
	fn()
}

// pinned counts the server's threads that may run on that processor only.
func (s *server) pinned(t *testing.T, cpu int) (n int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", s.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(filepath.Base(task))
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(tid, &set); err != nil {
			t.Fatal(err)
		}
		if set.Count() == 1 && set.IsSet(cpu) {
			n++
		}
	}
	return n
}

// Shards stay on their processors, and a client whose packets arrive there is served there.
func TestShardsOnProcessors(t *testing.T) {
	needXderp(t, "--shard-cpus")
	cpus := twoCPUs(t)
	list := fmt.Sprintf("--shard-cpus=%d,%d", cpus[1], cpus[0])
	s := start(t, opts{control: true, args: []string{list, "--affinity=cpu"}})
	var st ctlStatus
	s.ctlJSON(t, &st, "status")
	if len(st.Shards) != 2 {
		t.Skipf("%d shards asked for", len(st.Shards))
	}
	if st.feature("shard_cpus") != "on" || st.feature("affinity") != "cpu" {
		t.Errorf("%+v", st.Features)
	}
	for _, cpu := range cpus {
		if n := s.pinned(t, cpu); n != 1 {
			t.Errorf("%d threads on processor %d alone", n, cpu)
		}
	}
	for shard, want := range []int{5, 9} {
		on(t, cpus[1-shard], func() {
			for range want {
				s.client(t)
			}
		})
	}
	s.ctlJSON(t, &st, "status")
	for shard, want := range []float64{5, 9} {
		if got := st.Shards[shard]["clients"].(float64); got != want {
			t.Errorf("shard %d has %v clients, not %v: %v", shard, got, want, st.Shards)
		}
	}
}
