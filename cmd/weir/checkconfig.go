package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/internal/strictyaml"
)

func newCheckConfig() *cobra.Command {
	var data, configFile string
	var show, asJSON bool
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Check the configuration and the estate file without starting anything",
		Long: `Reads the configuration file, the estate file that it names, and the files of estate.xapi and estate.libvirt, and prints everything that is wrong
with them.
--print shows the effective configuration, defaults included.`,
		Example: `  weir check-config --data /var/lib/weir
  weir check-config --config new.yaml --print`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := instance.DataDir(data)
			cfg, file, err := loadConfig(configFile, dir)
			if err != nil {
				return err
			}
			cfg.rebase(file, dir)
			snapshot, err := readEstate(cfg.Estate.Config)
			if err != nil {
				return err
			}
			if err := cfg.Estate.check(); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if show {
				text, err := strictyaml.Encode(&cfg)
				if err != nil {
					return fmt.Errorf("print config: %w", err)
				}
				_, err = out.W.Write(text)
				return err
			}
			return printCheck(out, file, cfg.Estate.File, snapshot)
		},
	}
	dataFlag(cmd, &data)
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&show, "print", false, "print the effective configuration")
	jsonFlag(cmd, &asJSON)
	return cmd
}
