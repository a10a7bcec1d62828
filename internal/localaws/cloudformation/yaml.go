package cloudformation

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// readYAML reads a template in YAML, which may use the short forms of the intrinsic
// functions. Aliases and anchors are not part of what CloudFormation reads (user
// guide, "CloudFormation template formats").
func readYAML(body []byte) (any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(body, &document); err != nil {
		return nil, formatError("YAML not well-formed.")
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, formatError("unsupported structure.")
	}
	value, err := fromYAML(document.Content[0], 0)
	if err != nil {
		return nil, formatError("%w", err)
	}
	return value, nil
}

func fromYAML(n *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: it nests deeper than %d levels", n.Line, maxDepth)
	}
	value, err := plainYAML(n, depth)
	if err != nil {
		return nil, err
	}
	if len(n.Tag) < 2 || n.Tag[0] != '!' || n.Tag[1] == '!' {
		return value, nil
	}
	switch name := n.Tag[1:]; name {
	case "Ref", "Condition":
		return map[string]any{name: value}, nil
	default:
		return map[string]any{"Fn::" + name: value}, nil
	}
}

func plainYAML(n *yaml.Node, depth int) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: a key must be a string", key.Line)
			}
			if _, twice := object[key.Value]; twice {
				return nil, fmt.Errorf("line %d: key %q is there twice", key.Line, key.Value)
			}
			value, err := fromYAML(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object[key.Value] = value
		}
		return object, nil
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			value, err := fromYAML(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		return scalarYAML(n), nil
	}
	return nil, fmt.Errorf("line %d: aliases are not supported in templates", n.Line)
}

// scalarYAML keeps numbers as they are written: 2012-10-17 is no date and 1.10
// no 1.1.
func scalarYAML(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	case "!!null":
		return nil
	}
	return n.Value
}
