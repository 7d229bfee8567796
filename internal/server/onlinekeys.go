package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// onlinePassphrase reads the passphrase of encrypted snapshot and timestamp keys
// whenever they are opened, so that it can be changed while the service runs.
func onlinePassphrase(c FirmwareConfig) func(string) ([]byte, error) {
	if c.OnlinePassphraseFile == "" {
		return nil
	}
	return func(string) ([]byte, error) {
		text, err := os.ReadFile(c.OnlinePassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("read passphrase of the online keys: %w", err)
		}
		line, _, _ := bytes.Cut(text, []byte{'\n'})
		if line = bytes.TrimSuffix(line, []byte{'\r'}); len(line) == 0 {
			return nil, errors.New("read passphrase of the online keys: the file's first line is empty")
		}
		return line, nil
	}
}
