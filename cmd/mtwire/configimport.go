package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/migrate"
	"github.com/spf13/cobra"
)

// importFlags are the flags of mtwire config import.
type importFlags struct {
	from migrate.Program
	out  string
}

func configImportCommand() *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a configuration file of another proxy's",
		Long: `Make a configuration file of one of mtg (TOML), telemt (TOML), mtprotoproxy
(config.py) or MTProxy (its command line, or a unit of systemd with it), with
the same secrets, ports, users and limits, so that existing links keep working.
The file is read as data, and nothing in it is executed. "-" is standard input.

What has no counterpart is listed on standard error, and in comments of the new
file, with what to do instead. The new file has secrets: --out makes one that
only its owner can read.`,
		Example: `  mtwire config import telemt.toml --out mtwire.new.toml`,
		Args:    oneArgument("file"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.TextVar(&f.from, "from", f.from, "`PROGRAM` that the file is of: mtg, telemt, mtprotoproxy or mtproxy (default: as the file looks)")
	flags.StringVar(&f.out, "out", "", "`FILE` to write, which must not exist (default: standard output)")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command, path string) error {
	text, err := readImported(cmd.InOrStdin(), path)
	if err != nil {
		return err
	}
	result, err := migrate.Import(text, f.from)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if f.out == "" {
		_, err = cmd.OutOrStdout().Write(result.TOML)
	} else {
		if err = writeSecretFile(f.out, result.TOML); err != nil {
			err = fmt.Errorf("--out: %w", err)
		}
	}
	if err != nil {
		return err
	}
	for _, note := range result.Notes {
		printStatus(cmd, "%s: %v", path, note)
	}
	c := service.Default()
	document, err := config.Decode("the new file", result.TOML, &c)
	wrong := []error{err}
	if err == nil {
		wrong = service.Check(c, warnings(cmd))
	}
	for _, err := range wrong {
		printStatus(cmd, "to be corrected before it can be used: %v", service.NameError(err, document))
	}
	return nil
}

// readImported reads a file, or standard input if path is "-".
func readImported(stdin io.Reader, path string) ([]byte, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		stdin = file
	}
	return io.ReadAll(io.LimitReader(stdin, migrate.MaxFile+1))
}

// writeSecretFile writes a file that only its owner can read, and that does not exist
// yet.
func writeSecretFile(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: the file exists, and is not overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		os.Remove(path) // with a part of text, which the next attempt would not overwrite
	}
	return err
}
