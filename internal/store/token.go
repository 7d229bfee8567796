package store

import (
	"context"

	"troth/internal/fleet"
)

var tokenTable = newTable("tokens", 1, "id operator role scope sha256 created_at expires_at used_at revoked_at")

var (
	selectTokens = tokenTable.selects()
	// $10 is the zero time. A bootstrap token that was spent or revoked never
	// changes again, and a revocation is never taken back by a writer that did
	// not know of it.
	upsertToken = tokenTable.upsert("revoked_at") + `,
		revoked_at = CASE WHEN tokens.revoked_at <> $10 THEN tokens.revoked_at ELSE excluded.revoked_at END
		WHERE tokens.role <> 'bootstrap' OR (tokens.used_at = $10 AND tokens.revoked_at = $10)`
)

func scanToken(r row) (t fleet.Token, err error) {
	err = r.Scan(&t.ID, &t.Operator, &t.Role, toJSON{&t.Scope}, toBytes{&t.SHA256}, toTime{&t.CreatedAt}, toTime{&t.ExpiresAt}, toTime{&t.UsedAt}, toTime{&t.RevokedAt})
	return t, err
}

func (w *writer) tokens(c fleet.Change) error {
	for _, t := range c.Tokens {
		if err := w.must(upsertToken, t.ID, t.Operator, string(t.Role), asJSON{t.Scope}, t.SHA256, micros(t.CreatedAt), micros(t.ExpiresAt),
			micros(t.UsedAt), micros(t.RevokedAt), zeroTime); err != nil {
			return err
		}
	}
	return nil
}

// TokenBySHA256 is the token whose secret has the hash (32 bytes).
func (s *Store) TokenBySHA256(ctx context.Context, hash []byte) (fleet.Token, error) {
	return one(ctx, s, scanToken, selectTokens+" WHERE sha256 = $1", hash)
}

// Tokens are all of them, newest first.
func (s *Store) Tokens(ctx context.Context) ([]fleet.Token, error) {
	return all(ctx, s, scanToken, selectTokens+" ORDER BY created_at DESC, id DESC")
}
