package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxMasks bounds the paths that a bundle masks.
const maxMasks = 64

// maskable are the parts of an input that hold words of devices and of operators:
// secrets and personal data come in these, and no fact that the service itself
// established.
var maskable = []string{"/reported/", "/device/labels/", "/device/name"}

// masksOf are the paths that a bundle wants kept out of decisions, from its data
// config.mask: JSON pointers (RFC 6901) below /reported, /device/labels, or
// /device/name. What they name is removed before policy sees the input, so that
// what is decided on, what is stored, and what is decided on again are the same
// bytes, and the bundle's digest tells what was left out.
func masksOf(data map[string]any) ([][]string, error) {
	config, _ := data["config"].(map[string]any)
	listed, given := config["mask"]
	if !given {
		return nil, nil
	}
	list, ok := listed.([]any)
	if !ok || len(list) > maxMasks {
		return nil, fmt.Errorf("config.mask is not a list of at most %d paths", maxMasks)
	}
	var masks [][]string
	for _, entry := range list {
		pointer, _ := entry.(string)
		allowed := func(prefix string) bool {
			if strings.HasSuffix(prefix, "/") {
				return strings.HasPrefix(pointer, prefix) && len(pointer) > len(prefix)
			}
			return pointer == prefix
		}
		if !slices.ContainsFunc(maskable, allowed) {
			return nil, fmt.Errorf("config.mask: %q is not a path below /reported or /device/labels, or /device/name", pointer)
		}
		steps := strings.Split(pointer[1:], "/")
		for i, step := range steps {
			steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		}
		masks = append(masks, steps)
	}
	return masks, nil
}

// masked is the document without what the masks name.
func masked(document []byte, masks [][]string) ([]byte, error) {
	if len(masks) == 0 {
		return document, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var root map[string]any
	if err := decoder.Decode(&root); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	for _, steps := range masks {
		remove(root, steps)
	}
	out, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return out, nil
}

// remove looks into every element of a list: who writes a path need not know how
// many there are.
func remove(v any, steps []string) {
	switch v := v.(type) {
	case map[string]any:
		if len(steps) == 1 {
			delete(v, steps[0])
			return
		}
		remove(v[steps[0]], steps[1:])
	case []any:
		for _, element := range v {
			remove(element, steps)
		}
	}
}
