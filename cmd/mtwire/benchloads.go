package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/spf13/pflag"
)

// loadFlags are the flags of mtwire bench for loads with a fixed rate. The phases
// that they select run in place of the default ones.
type loadFlags struct {
	chat, chatBulk, churn bool
	paced                 bitRate // 0 without --paced

	chatLoad  loadgen.ChatLoad
	churnLoad loadgen.ChurnLoad
	pacedLoad loadgen.PacedLoad
}

// define defines the flags.
func (l *loadFlags) define(f *pflag.FlagSet) {
	f.BoolVar(&l.chat, "chat", false, "measure small messages on many connections")
	f.BoolVar(&l.chatBulk, "chat-bulk", false, "measure --chat while --connections downloads, then uploads, run at full speed")
	f.IntVar(&l.chatLoad.Connections, "chat-connections", 2000, "`NUMBER` of connections of --chat")
	f.IntVar(&l.chatLoad.Size, "chat-size", 200, "size of an echo of --chat in `BYTES`, rounded like --size")
	l.chatLoad.Interval = 2 * time.Second
	durationVar(f, &l.chatLoad.Interval, "chat-interval", "time from an echo of a connection of --chat to its next")
	f.BoolVar(&l.churn, "churn", false, "measure connections that come and go, one echo on each")
	f.IntVar(&l.churnLoad.Rate, "churn-rate", 500, "`NUMBER` of connections a second of --churn")
	f.Var(&l.paced, "paced", "measure downloads that are held to `RATE` each, such as 2Mbit")
	f.IntVar(&l.pacedLoad.Connections, "paced-connections", 100, "`NUMBER` of downloads of --paced")
	f.IntVar(&l.pacedLoad.Size, "paced-size", 4<<10, "size of a packet of --paced in `BYTES`, rounded like --size")
}

// phases returns the phases that the flags select.
func (l *loadFlags) phases() (phases []loadgen.Phase) {
	if l.chat {
		phases = append(phases, loadgen.PhaseChat)
	}
	if l.chatBulk {
		phases = append(phases, loadgen.PhaseChatDownload, loadgen.PhaseChatUpload)
	}
	if l.paced != 0 {
		phases = append(phases, loadgen.PhasePaced)
	}
	if l.churn {
		phases = append(phases, loadgen.PhaseChurn)
	}
	return phases
}

// complete checks the flags and sets the loads in plan.
func (l *loadFlags) complete(plan *loadgen.Plan) error {
	const most = 1_000_000
	chat, churn, paced := &l.chatLoad, &l.churnLoad, &l.pacedLoad
	for _, flag := range []struct {
		name             string
		value, min, most int
	}{
		{"chat-connections", chat.Connections, 1, most},
		{"chat-size", chat.Size, loadgen.MinLength, 1 << 20},
		{"churn-rate", churn.Rate, 1, most},
		{"paced-connections", paced.Connections, 1, most},
		{"paced-size", paced.Size, loadgen.MinLength, 1 << 20},
	} {
		if flag.value < flag.min || flag.value > flag.most {
			return fmt.Errorf("--%s %d: want %d to %d", flag.name, flag.value, flag.min, flag.most)
		}
	}
	if chat.Interval < time.Millisecond || chat.Interval > 24*time.Hour {
		return fmt.Errorf("--chat-interval %v: want 1ms to 24h", chat.Interval)
	}
	chat.Size, paced.Size = loadgen.RoundPacketSize(chat.Size), loadgen.RoundPacketSize(paced.Size)
	if paced.Rate = int64(l.paced); paced.Rate > 0 {
		// A packet takes a second at most and 100 ns at least.
		if least, most := int64(paced.Size)*8, int64(paced.Size)*8*1e7; paced.Rate < least || paced.Rate > most {
			return fmt.Errorf("--paced %v: want %v to %v, with packets of %d bytes", l.paced, bitRate(least), bitRate(most), paced.Size)
		}
	}
	plan.Chat, plan.Churn, plan.Paced = *chat, *churn, *paced
	return nil
}

// phaseNames returns the names of phases, for the help text.
func phaseNames(phases []loadgen.Phase) string {
	names := make([]string, len(phases))
	for i, phase := range phases {
		names[i] = string(phase)
	}
	return strings.Join(names, ", ")
}

// bitRate is a pflag.Value: bits a second, with the unit bit, kbit, Mbit or Gbit in
// any case. 0 is no rate.
type bitRate int64

var errBitRate = errors.New("want a number and a unit, such as 2Mbit, 500kbit or 1Gbit")

type bitUnit struct {
	name string
	bits int64
}

// bitUnits are the units, the largest first. "bit" is the end of all of them.
var bitUnits = []bitUnit{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// Set parses a rate. It must be positive.
func (r *bitRate) Set(text string) error {
	lower := strings.ToLower(text)
	i := slices.IndexFunc(bitUnits, func(u bitUnit) bool { return strings.HasSuffix(lower, strings.ToLower(u.name)) })
	if i < 0 {
		return errBitRate
	}
	unit := bitUnits[i]
	number, err := strconv.ParseFloat(text[:len(text)-len(unit.name)], 64)
	bits := number * float64(unit.bits)
	if err != nil || !(bits >= 1 && bits <= 1e15) {
		return errBitRate
	}
	*r = bitRate(bits)
	return nil
}

// String returns the rate in the greatest unit that it has at least one of, "" for
// no rate.
func (r bitRate) String() string {
	for _, unit := range bitUnits {
		if int64(r) >= unit.bits {
			return strconv.FormatFloat(float64(r)/float64(unit.bits), 'f', -1, 64) + unit.name
		}
	}
	return ""
}

// Type is the name of the value in the help text.
func (bitRate) Type() string { return "RATE" }
