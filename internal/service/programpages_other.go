//go:build !linux

package service

func dropProgramPages() {}
