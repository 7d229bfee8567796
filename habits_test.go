package troth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestPackageNamesSaySomething(t *testing.T) {
	for _, p := range ours(t) {
		if in("util utils common helper helpers misc shared base lib", p.Name) {
			t.Errorf("%s: a package named %s says nothing about what it holds", p.path(), p.Name)
		}
	}
}

// TestHabits parses all non-test code: nobody registers anything in an init, and
// libraries leave the clock, the log and the process to their callers.
func TestHabits(t *testing.T) {
	for _, p := range ours(t) {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			library := in(capabilities+" internal/fleet", p.path()) && !in(testSupport, p.path())
			for _, habit := range badHabits(file, library) {
				t.Errorf("%s/%s:%d: %s", p.path(), name, fset.Position(habit.pos).Line, habit.what)
			}
		}
	}
}

type habit struct {
	pos  token.Pos
	what string
}

// badHabits finds what a file should not do. A default such as now = time.Now is
// no call: it is the caller's to replace.
func badHabits(file *ast.File, library bool) []habit {
	imported := map[string]string{} // local name -> import path
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = path
	}
	var found []habit
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				found = append(found, habit{n.Pos(), "has an init function"})
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || !library {
				break
			}
			if x, ok := sel.X.(*ast.Ident); ok {
				call := imported[x.Name] + "." + sel.Sel.Name
				if in("time.Now time.Since time.Until os.Exit", call) || strings.HasPrefix(call, "log.") || strings.HasPrefix(call, "log/slog.") {
					found = append(found, habit{n.Pos(), "a library calls " + call})
				}
			}
		}
		return true
	})
	return found
}

func TestBadHabitsAreFound(t *testing.T) {
	const source = `package p
import ("time"; "log"; "os"; clock "time")
var Now = time.Now
func init() {}
func f() { time.Now(); clock.Since(Now()); log.Print(); os.Exit(1); t.Now() }`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := badHabits(file, true); len(got) != 5 {
		t.Errorf("found %d bad habits in a library, want 5: %v", len(got), got)
	}
	if got := badHabits(file, false); len(got) != 1 {
		t.Errorf("found %d bad habits in a program, want 1: %v", len(got), got)
	}
}

// TestArchitectureIsTrue checks that every path that ARCHITECTURE.md names in
// backquotes exists.
func TestArchitectureIsTrue(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile("`([a-z.][a-zA-Z0-9_./-]*)`").FindAllStringSubmatch(string(text), -1) {
		path := match[1]
		if !strings.Contains(path, "/") && filepath.Ext(path) == "" {
			continue // a word, not a path
		}
		if strings.HasPrefix(path, "fleet.") {
			continue // a Go name
		}
		if !exists(path) {
			t.Errorf("ARCHITECTURE.md names %s, which does not exist", path)
		}
	}
}
