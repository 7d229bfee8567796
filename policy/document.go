package policy

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// valueOf reads a document as OPA does, only faster: OPA makes Go values first, and
// its own of these. What is out of the ordinary is left to OPA.
func valueOf(document []byte) (ast.Value, error) {
	if json.Valid(document) {
		p := parser{text: document}
		if v := p.value(); !p.odd {
			return v, nil
		}
	}
	return ast.ValueFromReader(bytes.NewReader(document))
}

// parser reads JSON that is known to be valid.
type parser struct {
	text []byte
	at   int
	odd  bool // something that OPA is to read
}

// next is the first byte after white space.
func (p *parser) next() byte {
	for {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return c
		}
	}
}

func (p *parser) value() ast.Value {
	switch c := p.next(); c {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return ast.String(p.string())
	case 't':
		p.at += len("true")
		return ast.Boolean(true)
	case 'f':
		p.at += len("false")
		return ast.Boolean(false)
	case 'n':
		p.at += len("null")
		return ast.NullValue
	default:
		return p.number()
	}
}

func (p *parser) object() ast.Value {
	object := ast.NewObject()
	for p.at++; p.next() != '}'; {
		if p.text[p.at] == ',' {
			p.at++
			p.next()
		}
		key := p.string()
		p.next()
		p.at++                                                       // colon
		object.Insert(ast.InternedTerm(key), ast.NewTerm(p.value())) // the last of several
	}
	p.at++
	return object
}

func (p *parser) array() ast.Value {
	var items []*ast.Term
	for p.at++; p.next() != ']'; {
		if p.text[p.at] == ',' {
			p.at++
		}
		items = append(items, ast.NewTerm(p.value()))
	}
	p.at++
	return ast.NewArray(items...)
}

// string reads one without escapes; those with are odd, and so is what is no UTF-8.
func (p *parser) string() string {
	start := p.at + 1
	end := start + bytes.IndexByte(p.text[start:], '"')
	content := p.text[start:end]
	if bytes.IndexByte(content, '\\') >= 0 {
		for end = start; p.text[end] != '"'; end++ {
			if p.text[end] == '\\' {
				end++
			}
		}
		p.at = end + 1
		var s string
		if err := json.Unmarshal(p.text[start-1:end+1], &s); err != nil {
			p.odd = true
		}
		return s
	}
	p.at = end + 1
	if !utf8.Valid(content) {
		p.odd = true
	}
	return string(content)
}

// number reads one as it is written. Long ones and those with an exponent are odd.
func (p *parser) number() ast.Value {
	start := p.at
	for ; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		if c == 'e' || c == 'E' {
			p.odd = true
		} else if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' {
			break
		}
	}
	if p.at-start > 32 {
		p.odd = true
	}
	return ast.Number(p.text[start:p.at])
}
