package migrate

import (
	"errors"
	"regexp"

	"github.com/pelletier/go-toml/v2"
)

var (
	assignsPython = regexp.MustCompile(`(?m)^(USERS|PORT)\s*=`)
	startsMTProxy = regexp.MustCompile(`(?m)(^|[\s/="'])mtproto-proxy["']?(\s|$)`)
)

var errUnknownFormat = errors.New("the program is not recognised: want the configuration of mtg (TOML), telemt (TOML) or mtprotoproxy (config.py), or the command line or unit of MTProxy; --from names it")

// detect returns the program that a configuration is of.
func detect(text []byte) (Program, error) {
	var keys map[string]any
	if err := toml.Unmarshal(text, &keys); err == nil {
		switch {
		case keys["access"] != nil || keys["censorship"] != nil || keys["general"] != nil:
			return Telemt, nil
		case keys["bind-to"] != nil || keys["secret"] != nil || keys["secrets"] != nil:
			return MTG, nil
		}
	}
	switch {
	case assignsPython.Match(text):
		return Mtprotoproxy, nil
	case startsMTProxy.Match(text):
		return MTProxy, nil
	}
	return "", errUnknownFormat
}
