//go:build !linux

package service

func dropProgramPages() {}

type programPages struct{}

func findProgramPages() (none programPages) { return none }

func (programPages) drop() {}
