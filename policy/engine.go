package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// DefaultDeadline bounds one evaluation where Options names no other bound. A
// posture takes about a millisecond.
const DefaultDeadline = 2 * time.Second

// Options tune an Engine.
type Options struct {
	// Deadline bounds one evaluation; zero is DefaultDeadline. The context's own
	// deadline holds as well.
	Deadline time.Duration
	// Memory bounds by how many bytes the heap of the process may grow while an
	// evaluation is slow; zero is DefaultMemory. See ErrMemory.
	Memory uint64
	// Replay is for a bundle that only reaches old decisions again: it may lack
	// kinds of decisions that came after it, and read facts that are no more.
	Replay bool
}

// Engine decides by one bundle. It never changes; a new bundle is a new Engine.
// Safe for concurrent use.
type Engine struct {
	digest   string
	deadline time.Duration
	memory   uint64
	queries  map[Kind]rego.PreparedEvalQuery
	controls []ControlMeta
	byID     map[string]int // into controls
	compiler *ast.Compiler
	data     map[string]any // of the bundle's files; not to be changed
	masks    [][]string     // see masksOf
}

// New compiles a bundle and runs nothing of it. It refuses, with ErrBundle, one
// that is too large, does not compile under Capabilities, reads a path of input
// that is none (see Schema), lacks a document (see the package comment), or has a
// control without metadata.
func New(ctx context.Context, fsys fs.FS, o Options) (*Engine, error) {
	if o.Deadline < 0 {
		return nil, fmt.Errorf("policy deadline is negative")
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	b, err := load(fsys)
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromObject(b.data)
	compiler, err := compile(ctx, b, store)
	if err == nil && !o.Replay {
		err = checkInput(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	e := &Engine{digest: b.digest, deadline: o.Deadline, memory: o.Memory, queries: map[Kind]rego.PreparedEvalQuery{}, byID: map[string]int{}, compiler: compiler, data: b.data}
	if e.controls, err = controlsOf(compiler); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if e.masks, err = masksOf(b.data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	for i, c := range e.controls {
		e.byID[c.ID] = i
	}
	for _, kind := range Kinds() {
		if o.Replay && len(compiler.GetRulesExact(ast.MustParseRef(kind.document()))) == 0 {
			continue
		}
		if e.queries[kind], err = prepare(ctx, compiler, store, kind); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
	}
	return e, nil
}

// Digest is the SHA-256, lower-case hexadecimal, over all modules, tests and
// data files of the bundle, sorted by path: for each the length of its path as
// eight bytes (most significant first), its path, the length of its content
// likewise, its content.
func (e *Engine) Digest() string {
	if e == nil {
		return ""
	}
	return e.digest
}

func compile(ctx context.Context, b *bundle, store storage.Store) (*ast.Compiler, error) {
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	defer store.Abort(ctx, txn)
	c := ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithStrict(true).
		WithEnablePrintStatements(false). // erases print
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
		WithStageAfterID(ast.StageBuildRequiredCapabilities, ast.CompilerStageDefinition{Name: "Guard", MetricName: "compile_stage_guard", Stage: guard})
	if c.Compile(b.modules); c.Failed() {
		return nil, fmt.Errorf("compile: %w", ordered(c.Errors))
	}
	return c, nil
}

// prepare makes the query for data.troth.<kind>.decision, which must be one
// rule with at most one default (SECURITY: an extra rule does not deny).
func prepare(ctx context.Context, c *ast.Compiler, store storage.Store, kind Kind) (rego.PreparedEvalQuery, error) {
	name := kind.document()
	rules, defaults := 0, 0
	for _, r := range c.GetRulesExact(ast.MustParseRef(name)) {
		switch {
		case len(r.Head.Args) > 0:
			return rego.PreparedEvalQuery{}, fmt.Errorf("%s is a function", name)
		case r.Default:
			defaults++
		default:
			rules++
		}
	}
	if rules != 1 || defaults > 1 {
		return rego.PreparedEvalQuery{}, fmt.Errorf("%s is to be one rule with at most one default, not %d with %d", name, rules, defaults)
	}
	query, err := rego.New(append(guarded(),
		rego.Query(name),
		rego.Compiler(c),
		rego.Capabilities(capabilities()),
		rego.Store(store),
		rego.StrictBuiltinErrors(true), // else a built-in's error is a silent undefined
	)...).PrepareForEval(ctx)
	if err != nil {
		return query, fmt.Errorf("prepare %s: %w", name, err)
	}
	return query, nil
}

// question is one evaluation to be made.
type question struct {
	kind     Kind
	document []byte
	meta     Meta
}

func (e *Engine) ask(in Input) (question, error) {
	q := question{kind: in.kind(), meta: Meta{Policy: e.Digest(), Evidence: in.evidence(), At: in.at().UTC()}}
	if e == nil {
		return q, fmt.Errorf("decide %s: %w", q.kind, ErrNoBundle)
	}
	document, err := Document(in)
	if err == nil {
		document, err = masked(document, e.masks)
	}
	if err != nil {
		return q, fmt.Errorf("decide %s: %w", q.kind, err)
	}
	q.bind(document)
	return q, nil
}

func (q *question) bind(document []byte) {
	sum := sha256.Sum256(document)
	q.document, q.meta.Input, q.meta.document = document, hex.EncodeToString(sum[:]), string(document)
}

// answer evaluates a question. The object it returns has not been checked yet.
func (e *Engine) answer(ctx context.Context, q question) (_ object, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", ErrEvaluation, p)
		}
		if err != nil {
			err = fmt.Errorf("decide %s: %w", q.kind, err)
		}
	}()
	input, err := valueOf(q.document)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	query, ok := e.queries[q.kind]
	if !ok {
		return nil, fmt.Errorf("%w: the bundle is older than decisions of this kind", ErrUndefined)
	}
	w := e.watch(ctx, e.deadline)
	defer w.stop()
	results, err := query.Eval(ctx, rego.EvalParsedInput(input), rego.EvalTime(q.meta.At),
		rego.EvalExternalCancel(w.cancel), rego.EvalGenerateJSON(plain))
	switch {
	case err != nil && ctx.Err() == nil && w.large.Load():
		return nil, fmt.Errorf("%w: the heap grew by more than %d bytes", ErrMemory, e.memory)
	case err != nil && ctx.Err() == nil && w.late.Load():
		return nil, fmt.Errorf("%w: %s passed", ErrTimeout, e.deadline)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	case len(results) == 0:
		return nil, ErrUndefined
	case len(results) != 1 || len(results[0].Expressions) != 1:
		return nil, fmt.Errorf("%w: several answers", ErrMalformed)
	}
	fields, ok := results[0].Expressions[0].Value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: %T where an object belongs", ErrMalformed, results[0].Expressions[0].Value)
	}
	return fields, nil
}

// Replay decides again from a stored Document, byte for byte, whatever fields
// the inputs of this version have. The decision equals the stored one if the
// bundle is the same, for an OPA that evaluates it the same way.
func (e *Engine) Replay(ctx context.Context, kind Kind, document []byte) (Decision, error) {
	q := question{kind: kind, meta: Meta{Policy: e.Digest()}}
	q.bind(document)
	var head struct {
		Now      time.Time `json:"now"`
		Evidence string    `json:"evidence"`
	}
	err := json.Unmarshal(document, &head)
	if err == nil && head.Now.IsZero() && kind != KindOperator {
		err = errors.New("now is not set")
	}
	if err != nil {
		err = fmt.Errorf("decide %s: %w: %w", kind, ErrInput, err)
	}
	if err == nil && e == nil {
		err = fmt.Errorf("decide %s: %w", kind, ErrNoBundle)
	}
	q.meta.At, q.meta.Evidence = head.Now.UTC(), head.Evidence
	s, ok := specOf(kind)
	if !ok {
		return nil, fmt.Errorf("%w: no kind of decision is called %q", ErrInput, kind)
	}
	return s.decide(e, ctx, q, err)
}
