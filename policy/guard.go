package policy

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// The limits of one step of an evaluation. A step is out of reach of the deadline
// and of the limit of memory, which act between steps; so no single call of a
// built-in function may make more than some hundred megabytes.
const (
	maxText   = 4 << 20 // bytes of a text that a call makes
	maxParsed = 1 << 20 // bytes of a text that a call takes apart
	maxItems  = 1 << 18 // elements of a collection
	maxDigits = 4096    // of a number, and its exponent
)

// guards are the built-in functions that can make much of little, each with what
// has to hold of its operands.
func guards() map[string]func([]*ast.Term) error {
	g := map[string]func([]*ast.Term) error{
		"numbers.range": rangeFits, "numbers.range_step": rangeFits,
		"concat": concatFits, "replace": replaceFits, "strings.replace_n": replaceNFits,
		"regex.replace": regexReplaceFits, "sprintf": sprintfFits, "json.marshal": marshalFits,
	}
	for _, name := range strings.Fields("plus minus mul div rem abs ceil floor round sum product format_int bits.and bits.or bits.xor") {
		g[name] = numbersFit
	}
	for _, name := range strings.Fields("array.concat array.flatten object.union object.union_n union or") {
		g[name] = itemsFit
	}
	for _, name := range strings.Fields("split strings.split_n regex.split regex.find_n regex.find_all_string_submatch_n indexof_n json.unmarshal to_number") {
		g[name] = textsFit(maxParsed)
	}
	for _, name := range strings.Fields("base64.encode base64url.encode base64url.encode_no_pad hex.encode upper lower strings.reverse") {
		g[name] = textsFit(maxText)
	}
	return g
}

const guardPrefix = "guarded."

// guarded are the options of a query that give the guards their work to do.
func guarded() []func(*rego.Rego) {
	var options []func(*rego.Rego)
	for name, fits := range guards() {
		inner, arity := topdown.GetBuiltin(name), ast.BuiltinMap[name].Decl.Arity()
		decl := &rego.Function{Name: guardPrefix + name, Decl: ast.BuiltinMap[name].Decl}
		options = append(options, rego.FunctionDyn(decl, func(b rego.BuiltinContext, terms []*ast.Term) (*ast.Term, error) {
			if err := fits(terms[:arity]); err != nil { // what the result is unified with follows
				return nil, err
			}
			var result *ast.Term
			err := inner(b, terms, func(t *ast.Term) error {
				result = t
				return nil
			})
			return result, err
		}))
	}
	return options
}

// guard has the compiled rules call the guarded functions. It comes after all other
// stages of the compiler: messages, types and indexes are those of OPA.
func guard(c *ast.Compiler) *ast.Error {
	names := guards()
	swap := func(t *ast.Term) *ast.Term {
		ref, ok := t.Value.(ast.Ref)
		if !ok || names[ref.String()] == nil {
			return t
		}
		return ast.NewTerm(ast.MustParseRef(guardPrefix + ref.String())).SetLocation(t.Location)
	}
	for _, m := range c.Modules {
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if terms, ok := e.Terms.([]*ast.Term); ok && len(terms) > 0 {
				terms[0] = swap(terms[0])
			}
			for _, w := range e.With {
				w.Target, w.Value = swap(w.Target), swap(w.Value)
			}
			return false
		})
	}
	return nil
}

func text(t *ast.Term) string {
	s, _ := t.Value.(ast.String)
	return string(s)
}

func tooMuch(what string, most int) error {
	return fmt.Errorf("it would make or take more than %d %s", most, what)
}

// atMost refuses what is larger; negative is what overflowed.
func atMost(n, most int, what string) error {
	if n < 0 || n > most {
		return tooMuch(what, most)
	}
	return nil
}

func textsFit(most int) func([]*ast.Term) error {
	return func(operands []*ast.Term) error {
		for _, o := range operands {
			if err := atMost(len(text(o)), most, "bytes"); err != nil {
				return err
			}
		}
		return nil
	}
}

func rangeFits(operands []*ast.Term) error {
	if err := numbersFit(operands); err != nil {
		return err
	}
	ends := []*big.Int{}
	for _, o := range operands {
		n, ok := o.Value.(ast.Number)
		if !ok {
			return nil // the function itself says what is wrong
		}
		whole, ok := new(big.Int).SetString(string(n), 10)
		if !ok {
			return nil
		}
		ends = append(ends, whole)
	}
	if len(ends) == 2 {
		ends = append(ends, big.NewInt(1))
	}
	if len(ends) != 3 || ends[2].Sign() <= 0 {
		return nil
	}
	length := new(big.Int).Sub(ends[1], ends[0])
	if length.Abs(length).Div(length, ends[2]); !length.IsInt64() || length.Int64() >= maxItems {
		return tooMuch("elements", maxItems)
	}
	return nil
}

func concatFits(operands []*ast.Term) error {
	separator, n := len(text(operands[0])), 0
	add := func(t *ast.Term) { n += len(text(t)) + separator }
	switch list := operands[1].Value.(type) {
	case *ast.Array:
		list.Foreach(add)
	case ast.Set:
		list.Foreach(add)
	}
	return atMost(n, maxText, "bytes")
}

func replaceFits(operands []*ast.Term) error {
	if len(operands) < 3 {
		return nil
	}
	s, old, with := text(operands[0]), text(operands[1]), text(operands[2])
	return atMost(len(s)+strings.Count(s, old)*len(with), maxText, "bytes")
}

func replaceNFits(operands []*ast.Term) error {
	patterns, ok := operands[0].Value.(ast.Object)
	if !ok {
		return nil
	}
	s := text(operands[1])
	n := len(s)
	patterns.Foreach(func(old, with *ast.Term) {
		if n >= 0 && n <= maxText {
			n += strings.Count(s, text(old)) * len(text(with))
		}
	})
	return atMost(n, maxText, "bytes")
}

// regexReplaceFits counts a match at every byte, and every group of the template as
// all of the text: together the groups cannot be longer.
func regexReplaceFits(operands []*ast.Term) error {
	if len(operands) < 3 {
		return nil
	}
	s, with := text(operands[0]), text(operands[2])
	if err := atMost(len(s), maxParsed, "bytes"); err != nil {
		return err
	}
	return atMost(len(s)+(len(s)+1)*len(with)+len(s)*strings.Count(with, "$"), 16*maxText, "bytes")
}

var digits = regexp.MustCompile(`[0-9]+`)

// sprintfFits takes every verb for one that writes all of the arguments, each byte
// as six, and pads them to the widest number that the format has.
func sprintfFits(operands []*ast.Term) error {
	format, size := text(operands[0]), 0
	if err := atMost(len(format), maxParsed, "bytes"); err != nil {
		return err
	}
	if err := measure(operands[1].Value, &size, maxText); err != nil {
		return err
	}
	width, verbs := 0, strings.Count(format, "%")
	if strings.Contains(format, "*") {
		width = 1_000_000 // package fmt goes no further
	}
	for _, d := range digits.FindAllString(format, -1) {
		n, err := strconv.Atoi(d)
		if err != nil || n > 1_000_000 {
			n = 1_000_000
		}
		width = max(width, n)
	}
	return atMost(len(format)+verbs*(6*size+width), 16*maxText, "bytes")
}

func marshalFits(operands []*ast.Term) error {
	size := 0
	return measure(operands[0].Value, &size, maxText)
}

// measure adds up what a value is when it is written out. It gives up early:
// a value may hold the same one many times over, and that again.
func measure(v ast.Value, size *int, most int) (err error) {
	*size += 4
	below := func(t *ast.Term) bool {
		err = measure(t.Value, size, most)
		return err != nil
	}
	switch v := v.(type) {
	case ast.String:
		*size += len(v)
	case ast.Number:
		*size += len(v)
	case *ast.Array:
		v.Until(below)
	case ast.Set:
		v.Until(below)
	case ast.Object:
		v.Until(func(key, value *ast.Term) bool { return below(key) || below(value) })
	}
	if err == nil && *size > most {
		err = tooMuch("bytes", most)
	}
	return err
}

func numbersFit(operands []*ast.Term) error {
	total := 0
	add := func(t *ast.Term) error {
		n, ok := t.Value.(ast.Number)
		if !ok {
			return nil
		}
		if total += len(n); total > maxDigits && len(n) > 32 {
			return tooMuch("digits", maxDigits)
		}
		if i := strings.IndexAny(string(n), "eE"); i >= 0 {
			if exponent, err := strconv.Atoi(string(n)[i+1:]); err != nil || exponent > maxDigits || exponent < -maxDigits {
				return tooMuch("digits", maxDigits)
			}
		}
		return nil
	}
	for _, o := range operands {
		err := add(o)
		each := func(t *ast.Term) bool {
			err = add(t)
			return err != nil
		}
		switch list := o.Value.(type) {
		case *ast.Array:
			list.Until(each)
		case ast.Set:
			list.Until(each)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func itemsFit(operands []*ast.Term) error {
	n := 0
	count := func(t *ast.Term) {
		switch v := t.Value.(type) {
		case *ast.Array:
			n += v.Len()
		case ast.Set:
			n += v.Len()
		case ast.Object:
			n += v.Len()
		}
	}
	for _, o := range operands {
		count(o)
		switch v := o.Value.(type) { // of arrays and of sets
		case *ast.Array:
			v.Foreach(count)
		case ast.Set:
			v.Foreach(count)
		}
	}
	return atMost(n, maxItems, "elements")
}
