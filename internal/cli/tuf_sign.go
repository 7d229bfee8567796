package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/spf13/cobra"

	"troth/internal/atomicfile"
	"troth/tuf"
	"troth/tuf/kms"
)

// writeOutput writes a file that the user named.
func writeOutput(file string, data []byte, mode os.FileMode) error {
	if err := atomicfile.Write(file, data, mode); err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	return nil
}

// readStage reads a stage file, and compares it with the root that its reader
// trusts, if one is given.
func (a *app) readStage(file, root string) (*tuf.Stage, error) {
	text, err := a.readFile(file, tuf.MaxStageBytes)
	if err != nil {
		return nil, err
	}
	s, err := tuf.ParseStage(bytes.NewReader(text))
	if err != nil || root == "" {
		return s, explainTUF(err)
	}
	trusted, err := a.readFile(root, 1<<20)
	if err != nil {
		return nil, err
	}
	return s, explainTUF(s.Trusts(trusted))
}

func (a *app) tufShowCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "show FILE [--root FILE]",
		Short: "Say in plain words what signing a stage would do",
		Long: `Say what signing a stage file would do, and whose signatures it has and needs. The
words are made from the metadata that is signed and from what it replaces, which the
file has with all signatures up to the first root: they are not the file's own. With
--root it is also checked that this is the repository that you trust.`,
		Example: "  troth tuf show stage.json --root root.json",
		Args:    takes("FILE"),
		RunE: a.action(func(_ context.Context, args []string) error {
			s, err := a.readStage(args[0], root)
			if err != nil {
				return err
			}
			return a.showStage("", s)
		}),
	}
	cmd.Flags().StringVar(&root, "root", "", "`FILE` of a root of the repository that you trust, of any version")
	return cmd
}

func (a *app) tufSignCommand() *cobra.Command {
	var l place
	var root, out string
	var yes bool
	cmd := &cobra.Command{
		Use:   "sign FILE --keys DIR [--root FILE] --yes",
		Short: "Show a stage and sign it, offline",
		Long: `Show what a stage file would do, as troth tuf show, and with --yes sign it with every
key of the keys directory that may sign something in it. The signatures are added to
the file, or to the one that --out names; carry it back and run troth tuf publish. It
needs no network and no repository.`,
		Example: "  troth tuf sign stage.json --keys /media/key --passphrase-file /media/key/passphrase --root root.json --yes",
		Args:    takes("FILE"),
		RunE: a.action(func(_ context.Context, args []string) error {
			if l.keys == "" {
				return usagef("--keys DIR is missing")
			}
			s, err := a.readStage(args[0], root)
			if err != nil {
				return err
			}
			if !yes {
				if err := a.showStage("", s); err != nil {
					return err
				}
				return usagef("nothing is signed yet: read the above, then run it again with --yes")
			}
			if _, err := s.Sign(l.ring()); err != nil {
				return explainTUF(err)
			}
			return a.showStage(first(out, args[0]), s)
		}),
	}
	f := cmd.Flags()
	l.keysFlag(f)
	f.StringVar(&root, "root", "", "`FILE` of a root of the repository that you trust, of any version")
	f.StringVar(&out, "out", "", "`FILE` to write the signed stage to (default: FILE itself)")
	f.BoolVar(&yes, "yes", false, "you have read what is signed")
	return cmd
}

func (a *app) tufPublishCommand() *cobra.Command {
	var l place
	var asked requirements
	cmd := &cobra.Command{
		Use:   "publish [FILE]... --repo DIR --keys DIR",
		Short: "Publish what is staged, once enough have signed",
		Long: `Collect the signatures of stage files, and publish what is staged if each role has as
many as it needs; otherwise say whose are missing, keep what there is, and end with
status 1. The keys directory holds the snapshot and timestamp keys.

Policy is asked about each release in it, with all who signed it: see firmware publish.`,
		Example: "  troth tuf publish alice.json bob.json --repo repo --keys online-keys",
		Args:    cobra.ArbitraryArgs,
		RunE: a.action(func(ctx context.Context, args []string) error {
			repo, err := l.openSigning()
			if err != nil {
				return err
			}
			if err := asked.review(ctx, a, repo); err != nil {
				return err
			}
			var copies []*tuf.Stage
			for _, file := range args {
				s, err := a.readStage(file, "")
				if err != nil {
					return err
				}
				copies = append(copies, s)
			}
			done, err := repo.PublishStage(a.Now(), copies...)
			if err != nil {
				return explainTUF(err)
			}
			got, err := pendingOf(done)
			if err != nil {
				return explainTUF(err)
			}
			return a.printer().print(got, func(p *page) {
				p.line("Published.")
				got.draw(p)
				asked.draw(p)
			})
		}),
	}
	l.repoFlag(cmd.Flags())
	l.keysFlag(cmd.Flags())
	asked.flags(cmd.Flags())
	return cmd
}

// createdKey is a new key.
type createdKey struct {
	KeyID   string `json:"key_id"`
	Private string `json:"private_key_file"`
	Public  string `json:"public_key_file"`
}

func (a *app) tufCreateKeyCommand() *cobra.Command {
	var l place
	var name, keyType string
	cmd := &cobra.Command{
		Use:   "create-key --keys DIR --name NAME [--passphrase-file FILE]",
		Short: "Make a signing key",
		Long: `Make a signing key NAME.pem, encrypted if there is a passphrase, and NAME.pub, its
public half, which add-key and delegate take. The private key stays with whoever made
it.`,
		Example: "  troth tuf create-key --keys keys --name alice --passphrase-file passphrase",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			if l.keys == "" || name == "" {
				return usagef("tuf create-key needs --keys and --name")
			}
			pub, err := tuf.CreateKey(l.ring(), name, keyType)
			if err != nil {
				return explainTUF(err)
			}
			_, id, err := tuf.PublicKey(pub)
			if err != nil {
				return explainTUF(err)
			}
			text, err := cryptoutils.MarshalPublicKeyToPEM(pub)
			if err != nil {
				return explainTUF(err)
			}
			got := createdKey{id, filepath.Join(l.keys, name+".pem"), filepath.Join(l.keys, name+".pub")}
			if err := writeOutput(got.Public, text, 0o644); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) {
				p.fields([2]string{"Key id", id}, [2]string{"Private key", got.Private}, [2]string{"Public key", got.Public})
			})
		}),
	}
	f := cmd.Flags()
	l.keysFlag(f)
	f.StringVar(&name, "name", "", "of the files")
	f.StringVar(&keyType, "key-type", tuf.KeyEd25519, tuf.KeyEd25519+" or "+tuf.KeyECDSA)
	complete(cmd, "key-type", tuf.KeyEd25519, tuf.KeyECDSA)
	return cmd
}

func (a *app) tufKMSKeyCommand() *cobra.Command {
	var k kms.Key
	var out string
	cmd := &cobra.Command{
		Use:   "kms-key --uri SERVICE://KEY --version N --out NAME.kms",
		Short: "Describe a signing key that a key management service holds",
		Long: `Ask a key management service for a key's public half, sign something with it once, and
write the description that a keys directory takes in place of a private key. Vault and
OpenBao Transit are built in (hashivault://KEY, openbao://KEY; types ed25519 and
ecdsa-p256; the version is pinned, and a rotation there changes nothing here). For
others, such as awskms://, sigstore's plugin must be installed.`,
		Example: `  troth tuf kms-key --uri hashivault://troth-snapshot --version 1 \
    --address https://vault.example:8200 --token-file /run/vault-token --out online-keys/snapshot.kms`,
		Args: takes(),
		RunE: a.action(func(context.Context, []string) error {
			if k.URI == "" || out == "" {
				return usagef("tuf kms-key needs --uri and --out")
			}
			text, err := kms.Describe(k)
			if err != nil {
				return failf(exitUndecided, "key_service", "%s", err)
			}
			if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
				return failf(exitUsage, codeFile, "%s", err)
			}
			if err := writeOutput(out, text, 0o600); err != nil {
				return err
			}
			sum := sha256.Sum256(text)
			return a.printer().print(map[string]string{"file": out, "sha256": hex.EncodeToString(sum[:])}, func(p *page) { p.line("Written to %s.", out) })
		}),
	}
	f := cmd.Flags()
	f.StringVar(&k.URI, "uri", "", "key, as `SERVICE://KEY`")
	f.IntVar(&k.Version, "version", 0, "version of the key that signs (Vault needs it)")
	f.StringVar(&k.Address, "address", "", "`URL` of Vault (default: VAULT_ADDR)")
	f.StringVar(&k.Mount, "mount", "", "where Transit is mounted (default: transit)")
	f.StringVar(&k.TokenFile, "token-file", "", "`FILE` of a Vault token (default: VAULT_TOKEN)")
	f.StringVar(&out, "out", "", "`FILE` to write, NAME.kms in a keys directory")
	return cmd
}
