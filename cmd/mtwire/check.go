package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
)

// checkConfig is mtwire proxy --check. loading is the error of reading the file, nil for
// none. It prints all that is wrong, or a summary. The exit code is 0 if nothing is wrong
// but placeholders of secrets, and 1 otherwise.
func (f *proxyFlags) checkConfig(cmd *cobra.Command, loading error, log *slog.Logger) error {
	var decoding *config.Errors
	if errors.As(loading, &decoding) && decoding.Syntax || loading != nil && decoding == nil {
		return &exitError{1, f.file.name(cmd, loading)}
	}
	if decoding == nil {
		summary, wrong := service.Examine(f.config, log)
		wrong = append(wrong, f.qr.check()...)
		if len(wrong) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
			for _, line := range summary {
				fmt.Fprintln(cmd.OutOrStdout(), " ", line)
			}
			return nil
		}
		return f.report(cmd, new(config.Errors), wrong)
	}
	var wrong []error
	for _, err := range service.CheckSettings(f.config, log) {
		if !follows(f.file.name(cmd, err), decoding) {
			wrong = append(wrong, err)
		}
	}
	wrong = append(wrong, f.qr.check()...)
	if placeholders := onlyPlaceholders(decoding); placeholders > 0 && len(wrong) == 0 {
		for _, err := range decoding.All {
			printStatus(cmd, "%v", err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "the configuration is valid but for placeholders of secrets, with which no proxy starts: %d\n", placeholders)
		return nil
	}
	return f.report(cmd, decoding, wrong)
}

// report returns the error for all that is wrong, in the order of the file.
func (f *proxyFlags) report(cmd *cobra.Command, inFile *config.Errors, wrong []error) error {
	var others []error
	for _, err := range wrong {
		var position *config.Error
		if err = f.file.name(cmd, err); errors.As(err, &position) {
			inFile.Add(position)
		} else {
			others = append(others, err)
		}
	}
	return &exitError{1, errors.Join(append([]error{inFile.Sorted()}, others...)...)}
}

// follows reports whether an error is there only because a value was not decoded.
func follows(err error, decoding *config.Errors) bool {
	var position *config.Error
	if !errors.As(err, &position) || position.Key == "" {
		return false
	}
	for _, before := range decoding.All {
		if strings.HasPrefix(before.Key, position.Key) { // user[0].secret, of user[0].secrets[1]
			return true
		}
	}
	return false
}

// onlyPlaceholders returns the number of errors, 0 if not all are about placeholders.
func onlyPlaceholders(decoding *config.Errors) int {
	for _, err := range decoding.All {
		if !errors.Is(err, config.ErrPlaceholder) {
			return 0
		}
	}
	return len(decoding.All) + decoding.More
}
