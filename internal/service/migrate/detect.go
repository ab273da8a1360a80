package migrate

import (
	"errors"
	"regexp"

	"github.com/pelletier/go-toml/v2"
)

var (
	assignsPython = regexp.MustCompile(`(?m)^(USERS|PORT)\s*=`)
	startsMTProxy = regexp.MustCompile(`(?m)^(\s*Exec\w+\s*=([^#\n]*[\s/"'])?|[^#=\n]*[\s/"'])?mtproto-proxy["']?(\s|$)`)
)

var errUnknownFormat = errors.New("the program is not recognised: want the configuration of mtg (TOML), telemt (TOML) or mtprotoproxy (config.py), or the command line or unit of MTProxy; --from names it")

// Detect returns the program that a configuration is of, or "" if it is of none of them. A
// configuration of mtwire is of none.
func Detect(text []byte) Program {
	var keys map[string]any
	if err := toml.Unmarshal(text, &keys); err == nil {
		switch {
		case keys["access"] != nil || keys["censorship"] != nil || keys["general"] != nil:
			return Telemt
		case keys["bind-to"] != nil:
			return MTG
		case !assignsPython.Match(text): // which may be TOML as well
			return ""
		}
	}
	switch {
	case assignsPython.Match(text):
		return Mtprotoproxy
	case startsMTProxy.Match(text):
		return MTProxy
	}
	return ""
}
