// Command bot answers each message with its own text. It connects through the endpoint
// in MTWIRE_ENDPOINT, such as a link of an MTProxy. APP_ID, APP_HASH and BOT_TOKEN are
// those of https://my.telegram.org and of @BotFather.
package main

import (
	"cmp"
	"context"
	"log"
	"os"
	"strconv"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/message"
	"github.com/gotd/td/tg"

	"github.com/mtwire/mtwire/gotd"
)

func main() {
	resolver, err := gotd.NewResolver(cmp.Or(os.Getenv("MTWIRE_ENDPOINT"), "wss"), nil)
	if err != nil {
		log.Fatal(err)
	}
	updates := tg.NewUpdateDispatcher()
	appID, err := strconv.Atoi(os.Getenv("APP_ID"))
	if err != nil || os.Getenv("BOT_TOKEN") == "" {
		log.Fatal("APP_ID, APP_HASH and BOT_TOKEN must be set: see https://my.telegram.org and @BotFather")
	}
	client := telegram.NewClient(appID, os.Getenv("APP_HASH"), telegram.Options{Resolver: resolver, UpdateHandler: updates})
	sender := message.NewSender(client.API())
	updates.OnNewMessage(func(ctx context.Context, e tg.Entities, u *tg.UpdateNewMessage) error {
		received, ok := u.Message.(*tg.Message)
		if !ok || received.Out {
			return nil
		}
		_, err := sender.Reply(e, u).Text(ctx, received.Message)
		return err
	})
	log.Fatal(client.Run(context.Background(), func(ctx context.Context) error {
		if _, err := client.Auth().Bot(ctx, os.Getenv("BOT_TOKEN")); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}))
}
