package store

import (
	"fmt"
	"slices"
	"strings"
)

// table names the columns of one aggregate, in the order in which its fields
// are written and read. The first keys columns identify a row; a column called
// revision comes last and is counted by the database.
type table struct {
	name    string
	keys    int
	columns []string
}

func newTable(name string, keys int, columns string) table {
	return table{name: name, keys: keys, columns: strings.Fields(columns)}
}

// selects is a SELECT of every column, to be continued with WHERE.
func (t table) selects() string {
	return "SELECT " + t.list() + " FROM " + t.name
}

// insert is an INSERT of every column.
func (t table) insert() string {
	marks := make([]string, len(t.columns))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + t.name + " (" + t.list() + ") VALUES (" + strings.Join(marks, ", ") + ")"
}

// insertAbsent inserts nothing where the key exists.
func (t table) insertAbsent() string {
	return t.insert() + " ON CONFLICT (" + t.key() + ") DO NOTHING"
}

// insertUnlessTaken inserts nothing where any unique index, not the key's alone,
// has the row already.
func (t table) insertUnlessTaken() string {
	return t.insert() + " ON CONFLICT DO NOTHING"
}

// upsert inserts, or replaces what the row of the same key holds in every
// column but those kept.
func (t table) upsert(kept ...string) string {
	var set []string
	for _, c := range t.columns[t.keys:] {
		if !slices.Contains(kept, c) {
			set = append(set, c+" = excluded."+c)
		}
	}
	return t.insert() + " ON CONFLICT (" + t.key() + ") DO UPDATE SET " + strings.Join(set, ", ")
}

// swap updates the row of the key if it still has the revision that is the last
// argument, and counts the revision.
func (t table) swap() string {
	var set []string
	for i, c := range t.columns[t.keys : len(t.columns)-1] {
		set = append(set, fmt.Sprintf("%s = $%d", c, t.keys+i+1))
	}
	return fmt.Sprintf("UPDATE %s SET %s, revision = revision + 1 WHERE %s = $1 AND revision = $%d",
		t.name, strings.Join(set, ", "), t.columns[0], len(t.columns))
}

func (t table) key() string { return strings.Join(t.columns[:t.keys], ", ") }

func (t table) list() string { return strings.Join(t.columns, ", ") }
