package migrate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/pelletier/go-toml/v2"
)

// readTOML reads a document of TOML. An option that known has is one, also if its value
// is a table; other tables are named with dots.
func readTOML(text []byte, known []Option) (*options, error) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		var invalid *toml.DecodeError
		if errors.As(err, &invalid) {
			line, column := invalid.Position()
			return nil, fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(invalid.Error(), "toml: "))
		}
		return nil, err
	}
	document := config.NewDocument("", text)
	o := &options{known: known}
	addTree(o, document, tree, "")
	slices.SortStableFunc(o.settings, func(a, b setting) int { return a.line - b.line })
	return o, nil
}

func addTree(o *options, document *config.Document, tree map[string]any, prefix string) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		name := prefix + key
		if table, ok := tree[key].(map[string]any); ok && (lookup(o.known, name) == nil || isPrefix(o.known, name)) {
			addTree(o, document, table, name+".")
			continue
		}
		line := document.Line(name)
		if line == 0 {
			line = document.Line(name + "[0]")
		}
		o.add(name, line, fromTOML(document, name, tree[key]))
	}
}

// fromTOML returns a value of TOML as one of a setting.
func fromTOML(document *config.Document, path string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		d := newDict()
		keys := slices.Sorted(maps.Keys(v))
		slices.SortStableFunc(keys, func(a, b string) int { return document.Line(path+"."+a) - document.Line(path+"."+b) })
		for _, key := range keys {
			d.set(key, fromTOML(document, path+"."+key, v[key]))
		}
		return d
	case []any:
		var list []any
		for _, element := range v {
			list = append(list, fromTOML(document, path, element))
		}
		return list
	case string, int64, float64, bool:
		return v
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return fmt.Sprint(value) // a local date or time
}
