package sim

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"troth/attest/attesttest"
)

// Image makes a firmware image of a model and the reference values that a
// device must show once it runs it (the JSON that troth firmware publish takes).
func Image(model, version string) (image, reference []byte, err error) {
	i := attesttest.NewImage(model, version)
	pcrs := map[int]string{}
	for index, value := range attesttest.Reference(attesttest.PlatformFor(model), i) {
		pcrs[index] = hex.EncodeToString(value)
	}
	reference, err = json.MarshalIndent(map[string]any{"bank": "sha256", "pcrs": pcrs}, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("encode reference values: %w", err)
	}
	return i.Bytes(), reference, nil
}
