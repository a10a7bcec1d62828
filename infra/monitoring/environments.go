package monitoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"lastwill/internal/nearest"
	"lastwill/internal/textfile"
	"lastwill/internal/will"
)

// EnvironmentsFile is where the named environments are, relative to the working
// directory. The context key "environments" names another file.
const EnvironmentsFile = "environments.json"

// A named is an environment of the file, or with a * at the end of its name a
// family of them, with its settings.
type named struct {
	name     string
	settings map[string]any
}

func (n named) isFamily() bool { return strings.HasSuffix(n.name, "*") }

// Environments returns the configurations of the environments in the file, in
// its order, families left out. What the context sets itself wins; others are keys
// of the context that the caller reads. Its error names all problems of all
// environments at once.
func Environments(context map[string]any, others ...string) ([]Config, error) {
	file, list, problems := readEnvironments(context)
	taken := map[string]string{}
	var configs []Config
	for _, n := range list {
		if n.isFamily() {
			continue
		}
		c, found := configFrom(withEnvironment(context, n.name), origin(file, n.name), n.settings, others...)
		for _, thing := range c.thingNames() {
			if other, ok := taken[thing]; ok {
				found.addOf(origin(file, n.name), "things", fmt.Errorf("%q is a thing of the environment %s too: rename one", thing, other))
			}
			taken[thing] = n.name
		}
		problems.join(found)
		configs = append(configs, c)
	}
	if problems == nil && configs == nil {
		problems.addOf(file, "", errors.New(`it names no environment: give one, such as {"staging": {"email": "ops@example.com"}}`))
	}
	return configs, problems.Err()
}

func withEnvironment(context map[string]any, name string) map[string]any {
	context = maps.Clone(context)
	if context == nil {
		context = map[string]any{}
	}
	context["environment"] = name
	return context
}

// settingsOf finds the settings of an environment in the file. Without a file,
// any name will do.
func settingsOf(list []named, name, file string) (map[string]any, error) {
	if name == "" || list == nil {
		return nil, nil
	}
	var names []string
	family := named{}
	for _, n := range list {
		if n.name == name {
			return n.settings, nil
		}
		if prefix, ok := strings.CutSuffix(n.name, "*"); ok && strings.HasPrefix(name, prefix) && len(n.name) > len(family.name) {
			family = n
		}
		names = append(names, n.name)
	}
	if family.name != "" {
		return family.settings, nil
	}
	if meant := nearest.Of(name, names); meant != "" {
		return nil, fmt.Errorf("%q is not in %s: did you mean %s?", name, file, meant)
	}
	return nil, fmt.Errorf("%q is not in %s, which has %s: add it, or a family such as \"pr-*\"", name, file, strings.Join(names, ", "))
}

// origin is where a setting of the file stands.
func origin(file, name string) string { return file + ": " + name }

// readEnvironments reads the file that the context names. A missing file is an
// error only if it was named.
func readEnvironments(context map[string]any) (file string, list []named, p Problems) {
	file = EnvironmentsFile
	r := reader{layers: []layer{newLayer(context, "")}}
	r.text("environments", &file)
	content, err := textfile.Read(file)
	if errors.Is(err, fs.ErrNotExist) && context["environments"] == nil {
		return file, nil, r.problems
	}
	if err == nil {
		list, err = parseEnvironments(content)
	}
	if err != nil {
		r.problems.addOf(file, "", err)
		return file, nil, r.problems
	}
	seen := map[string]bool{}
	for _, n := range list {
		r.problems.addOf(file, "", checkName(n.name))
		if seen[n.name] {
			r.problems.addOf(file, "", fmt.Errorf("%q is there twice: name each environment once", n.name))
		}
		seen[n.name] = true
	}
	return file, list, r.problems
}

// checkName takes the names of environments and of families of them.
func checkName(name string) error {
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		name = prefix + "x"
	}
	if name == "" {
		return errors.New(`"" is no name: what the environment without a name needs goes into the context of cdk.json`)
	}
	return will.CheckEnvironment(name)
}

// parseEnvironments keeps the order of the names, which a map would lose and
// which is the order of a pipeline's stages.
func parseEnvironments(content []byte) ([]named, error) {
	var whole map[string]map[string]any
	if err := json.Unmarshal(content, &whole); err != nil {
		return nil, inLine(content, err)
	}
	d := json.NewDecoder(bytes.NewReader(content))
	list := []named{}
	_, err := d.Token() // the brace
	for err == nil && d.More() {
		var name json.Token
		var n named
		if name, err = d.Token(); err == nil {
			n.name = name.(string)
			err = d.Decode(&n.settings)
			list = append(list, n)
		}
	}
	return list, err
}

// inLine says where in a JSON text an error is.
func inLine(content []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	offset := int64(0)
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	} else if errors.As(err, &kind) {
		offset, err = kind.Offset, errors.New("the file must be one object, with an object of settings for each environment")
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(content[:offset], []byte("\n")), err)
}
