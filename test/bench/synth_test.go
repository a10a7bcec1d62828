package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/keypair"
	"lastwill/internal/will"
)

// BenchmarkSynth synthesizes the stack of infra, with one thing and with 100,
// and the same stack written in TypeScript: compiled before, as plain JavaScript,
// and with one thing in both of the ways in which cdk init has set up TypeScript,
// which compile at each start. They take turns; all are warm, without the CDK CLI
// and without its validation. Medians of 15 rounds, of five for TypeScript.
func BenchmarkSynth(b *testing.B) {
	s := newSynth(b)
	infra := []string{filepath.Join(s.dir, "infra")}
	javaScript := []string{"node", filepath.Join(s.dir, "app.js")}
	runs := []struct {
		name    string
		things  int
		command []string
		every   int // so many rounds
	}{
		{"ours", 1, infra, 1},
		{"js", 1, javaScript, 1},
		{"ours100", 100, infra, 1},
		{"js100", 100, javaScript, 1},
		{"ts-node", 1, []string{"npx", "ts-node", "--compiler", "typescript5", "--prefer-ts-exts", "app.ts"}, 3},
		{"tsc+tsx", 1, []string{"sh", "-c", "npx tsc && npx tsx app.ts"}, 3},
	}
	for _, r := range runs { // warms up, too
		s.run(b, r.things, r.command)
		if diff := cmp.Diff(s.template(b, infra, r.things), s.template(b, r.command, r.things)); diff != "" {
			b.Fatalf("%s synthesizes another template (-ours +its):\n%s", r.name, diff)
		}
	}
	wall, cpu := map[string][]time.Duration{}, map[string][]time.Duration{}
	for b.Loop() {
		for round := range 15 {
			for _, r := range runs {
				if round%r.every == 0 {
					w, c := s.run(b, r.things, r.command)
					wall[r.name], cpu[r.name] = append(wall[r.name], w), append(cpu[r.name], c)
				}
			}
		}
	}
	for _, times := range []struct {
		of   map[string][]time.Duration
		unit string
	}{{wall, ""}, {cpu, "-cpu"}} {
		ms := map[string]float64{}
		for _, r := range runs {
			b.Log(r.name+times.unit, times.of[r.name])
			slices.Sort(times.of[r.name])
			ms[r.name] = times.of[r.name][len(times.of[r.name])/2].Seconds() * 1000
			b.ReportMetric(ms[r.name], "ms/"+r.name+times.unit)
		}
		for _, peer := range []string{"js", "ts-node", "tsc+tsx"} {
			b.ReportMetric(ms["ours"]/ms[peer], "x-"+peer+times.unit)
		}
		b.ReportMetric(ms["ours100"]/ms["js100"], "x-js100"+times.unit)
		b.ReportMetric((ms["ours100"]-ms["ours"])/(ms["js100"]-ms["js"]), "x-js/thing"+times.unit)
	}
}

// A synth has what all need: the program of infra, the peer as JavaScript, the
// simulator and the CSRs of 100 things.
type synth struct{ dir, peers string }

func newSynth(b *testing.B) *synth {
	b.Helper()
	peers, err := filepath.Abs("synth")
	check(b, err)
	if _, err := os.Stat(filepath.Join(peers, "node_modules")); err != nil {
		b.Fatal("the peers are not installed: run make bench, or npm ci in test/bench/synth")
	}
	s := &synth{b.TempDir(), peers}
	compile := func(dir, name string, args ...string) {
		cmd := exec.CommandContext(b.Context(), name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	compile(filepath.Join("..", ".."), "go", "build", "-o", filepath.Join(s.dir, "infra"), "./infra")
	compile(filepath.Join("..", ".."), "go", "build", "-o", filepath.Join(s.dir, "dist", "linux-amd64", "bootstrap"), "./cmd/simulator")
	compile(peers, "npx", "tsc", "--noEmit", "false", "--outDir", s.dir)
	for _, thing := range things(100) {
		_, err := keypair.Ensure(filepath.Join(s.dir, "certs"), thing, true)
		check(b, err)
	}
	return s
}

// run synthesizes a number of things and returns the time that took, and that of
// the processors.
func (s *synth) run(b *testing.B, number int, command []string) (wall, cpu time.Duration) {
	b.Helper()
	settings, err := json.Marshal(map[string]any{
		"email":  "ops@example.com",
		"things": strings.Join(things(number), ","),
		"certs":  filepath.Join(s.dir, "certs"),
	})
	check(b, err)
	cmd := exec.CommandContext(b.Context(), command[0], command[1:]...)
	cmd.Dir = s.peers
	if strings.HasPrefix(command[0], s.dir) {
		cmd.Dir = s.dir // where infra looks for the simulator
	}
	cmd.Env = append(os.Environ(), "CDK_OUTDIR="+s.output(command, number), "CDK_CONTEXT_JSON="+string(settings),
		"SIMULATOR="+filepath.Join(s.dir, "dist", "linux-amd64"), "CI=true", "CDK_VALIDATION=false", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20",
		"NODE_PATH="+filepath.Join(s.peers, "node_modules")) // of the JavaScript, which is elsewhere
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", command, err, out)
	}
	return time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// output is a folder of its own for each, so that each finds its assets there.
func (s *synth) output(command []string, number int) string {
	return filepath.Join(s.dir, "out", fmt.Sprint(number), filepath.Base(strings.Join(command, "-")))
}

func (s *synth) template(b *testing.B, command []string, number int) (template any) {
	b.Helper()
	content, err := os.ReadFile(filepath.Join(s.output(command, number), "Lastwill.template.json"))
	check(b, err)
	check(b, json.Unmarshal(content, &template))
	return template
}

func things(number int) []string {
	names := []string{will.ThingName}
	for i := 1; i < number; i++ {
		names = append(names, fmt.Sprint(will.ThingName, i))
	}
	return names
}
