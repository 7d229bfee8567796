package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

type row interface{ Scan(dest ...any) error }

// one reads the row that query selects; fleet.ErrNotFound if there is none.
func one[T any](ctx context.Context, s *Store, scan func(row) (T, error), query string, args ...any) (T, error) {
	var none T
	if err := arguments(args); err != nil {
		return none, err
	}
	if err := ctx.Err(); err != nil {
		return none, s.wrap(ctx, "read row", err)
	}
	v, err := scan(s.read.QueryRowContext(s.briefly(ctx), query, args...))
	if err != nil {
		return none, s.wrap(ctx, "read row", err)
	}
	return v, nil
}

// briefly is the context to read one row with. SQLite has it at once, and the two
// goroutines that would watch over a context cost as much as the row does.
func (s *Store) briefly(ctx context.Context) context.Context {
	if s.group != nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// all reads every row that query selects.
func all[T any](ctx context.Context, s *Store, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	if err := arguments(args); err != nil {
		return nil, err
	}
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, "read rows", err)
	}
	list, err := collect(rows, scan)
	if err != nil {
		return nil, s.wrap(ctx, "read rows", err)
	}
	return list, nil
}

func collect[T any](rows *sql.Rows, scan func(row) (T, error)) (list []T, err error) {
	defer rows.Close()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// filter builds the tail of a SELECT from the conditions that are set.
type filter struct {
	terms []string
	args  []any
}

// where adds a condition in which each ? stands for the next of args.
func (f *filter) where(term string, args ...any) {
	for _, a := range args {
		f.args = append(f.args, a)
		term = strings.Replace(term, "?", "$"+strconv.Itoa(len(f.args)), 1)
	}
	f.terms = append(f.terms, term)
}

// in adds the condition that the column has one of the values.
func (f *filter) in(column string, values []any) {
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ")
	f.where(column+" IN ("+marks+")", values...)
}

func (f *filter) tail(order string, limit int) string {
	var b strings.Builder
	if len(f.terms) > 0 {
		b.WriteString(" WHERE " + strings.Join(f.terms, " AND "))
	}
	b.WriteString(" ORDER BY " + order)
	if limit > 0 {
		b.WriteString(" LIMIT " + strconv.Itoa(limit))
	}
	return b.String()
}
