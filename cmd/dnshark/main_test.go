package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

func TestMain(m *testing.M) {
	// A system call that the sandbox forbids ends whatever is tested.
	if err := os.Setenv(sandboxTrap, "1"); err != nil {
		panic(err)
	}
	testscript.Main(cleanUp{m}, map[string]func(){"dnshark": main})
}

type cleanUp struct{ m *testing.M }

func (c cleanUp) Run() int {
	defer testkit.RemoveBuild()
	return c.m.Run()
}

// Whole commands: what is typed, what is printed, how it ends.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/scripts",
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv(sandboxTrap, "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":   cmdExit,
			"holds":  cmdHolds,
			"pcap":   cmdPcap,
			"mkfifo": cmdMkfifo,
		},
		Condition: func(cond string) (bool, error) { return cond == "root" && os.Geteuid() == 0, nil },
	})
}
