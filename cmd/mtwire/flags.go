package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/pflag"
)

// nameFlag puts the name of the flag in front of an error that is about a flag. An
// error of package pflag quotes the flag's text, which may be a secret: it is
// replaced by the error of the value.
func nameFlag(err error) error {
	var invalid *pflag.InvalidValueError
	var config *service.ConfigError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, namedValue(invalid.Unwrap()))
	case errors.As(err, &config):
		return fmt.Errorf("--%s: %w", config.Setting, config.Err) // a setting has the name of its flag
	}
	return err
}

// namedValue returns err, or what is wrong with a value in place of an error of package
// strconv, which names a function.
func namedValue(err error) error {
	var wrong *strconv.NumError
	if !errors.As(err, &wrong) {
		return err
	}
	kind := map[string]string{"ParseBool": "true or false", "ParseFloat": "a number"}[wrong.Func]
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is out of range", wrong.Num)
	}
	return fmt.Errorf("%q: want %s", wrong.Num, cmp.Or(kind, "a whole number"))
}

// checkPaths returns an error for a flag whose path is empty, as that of a variable which
// is not set: without it, another configuration or another secret would be in use. With a
// configuration file, an empty path takes that of the file away.
func checkPaths(flags *pflag.FlagSet) (err error) {
	config := flags.Lookup("config")
	fromFile := config != nil && config.Value.String() != ""
	flags.Visit(func(f *pflag.Flag) {
		kind, _ := pflag.UnquoteUsage(f)
		isPath := slices.Contains([]string{"FILE", "PATH", "DIRECTORY"}, kind) && f.Name != "web-path" && f.Value.Type() == "string"
		if err == nil && isPath && f.Value.String() == "" && !(fromFile && isSetting(f.Name)) {
			err = fmt.Errorf("--%s: the path is empty", f.Name)
		}
	})
	return err
}

// textList is a pflag.Value that collects the values of a repeatable flag in a
// slice. The first one replaces the default.
type textList[T any, P textPointer[T]] struct {
	values *[]T
	given  int
	errors listErrors
}

// textPointer is *T, if that can be parsed from a text.
type textPointer[T any] interface {
	*T
	encoding.TextUnmarshaler
}

// listErrors selects how the errors of a textList tell which value is meant.
type listErrors bool

const (
	errorsQuote    listErrors = false // by themselves: they quote the value
	errorsNumbered listErrors = true  // by position: the value may be a secret
)

// listVar defines a repeatable flag whose values are appended to values. Another
// flag may append to the list that it returns.
func listVar[T any, P textPointer[T]](flags *pflag.FlagSet, values *[]T, name string, errors listErrors, usage string) *textList[T, P] {
	list := &textList[T, P]{values: values, errors: errors}
	flags.Var(list, name, usage)
	return list
}

// Set appends a value.
func (l *textList[T, P]) Set(text string) error {
	var value T
	if err := P(&value).UnmarshalText([]byte(text)); err != nil {
		if l.errors == errorsNumbered {
			return fmt.Errorf("number %d: %w", l.given+1, err)
		}
		return err
	}
	if l.given == 0 {
		*l.values = nil
	}
	*l.values = append(*l.values, value)
	l.given++
	return nil
}

// String returns the values for the help text, which shows the default.
func (l *textList[T, P]) String() string {
	var texts []string
	for _, value := range *l.values {
		texts = append(texts, fmt.Sprint(value))
	}
	return strings.Join(texts, ", ")
}

// Type is the name of the value in the help text, unless the usage has one.
func (l *textList[T, P]) Type() string { return "value" }

// settingFlag is a flag whose value cannot be set to the text of another one.
type settingFlag interface {
	// copyTo sets other, the same flag of another command, to the value.
	copyTo(other pflag.Value)
}

func (l *textList[T, P]) copyTo(other pflag.Value) {
	if other, ok := other.(*textList[T, P]); ok {
		*other.values, other.given = *l.values, l.given
	}
}
