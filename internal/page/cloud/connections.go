package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane/types"

	"lastwill/internal/page"
)

// maxAsked bounds how many clients are asked about after a gap.
const maxAsked = 200

// ask asks how a client's connection stands; nil if AWS does not know the client,
// which is so 30 minutes after its end.
func (p *Page) ask(ctx context.Context, id string) (*iotdataplane.GetConnectionOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	found, err := p.data.GetConnection(ctx, &iotdataplane.GetConnectionInput{ClientId: &id})
	if unknown, ok := errors.AsType[*types.ResourceNotFoundException](err); ok && unknown != nil {
		return nil, nil
	}
	return found, err
}

// catchUp asks for the connections of our clients, where no lifecycle events were
// received: before the page, and while it was not connected.
func (p *Page) catchUp(ctx context.Context) {
	p.mu.Lock()
	news := map[string]int{}
	for id := range p.things {
		news[id] = p.client(id).news
	}
	for id, c := range p.known {
		if c.named && len(news) < maxAsked {
			news[id] = c.news
		}
	}
	p.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(news)) {
		found, err := p.ask(ctx, id)
		if ctx.Err() != nil {
			return
		}
		p.trouble("connections", "connections of before cannot be read", err)
		if err != nil {
			return
		}
		p.mu.Lock()
		if c := p.client(id); c.news == news[id] { // else its lifecycle events tell
			p.correct(id, c, found)
		}
		p.mu.Unlock()
	}
}

// correct tells how a client's connection stands, if that is not known; p.mu is held.
func (p *Page) correct(id string, c *client, found *iotdataplane.GetConnectionOutput) {
	e := page.Event{Kind: page.Disconnected, Time: time.Now(), Client: id}
	switch {
	case found != nil && found.Connected:
		if c.connected {
			return
		}
		e.Kind, e.Detail, e.Time = page.Connected, sinceOf(found), time.UnixMilli(found.ConnectedSince)
	case found != nil:
		if !c.connected && c.news > 0 {
			return
		}
		e.Detail, e.Time = aws.ToString(found.DisconnectReason), time.UnixMilli(found.DisconnectedSince)
	case c.connected:
		e.Detail = "AWS knows of no connection any more"
	default:
		return
	}
	c.connected = e.Kind == page.Connected
	c.news++
	p.tell(e)
}

func sinceOf(c *iotdataplane.GetConnectionOutput) string {
	return fmt.Sprintf("connected since %s, keep alive %d s", time.UnixMilli(c.ConnectedSince).Local().Format("2 Jan 15:04:05"), c.KeepAliveDuration)
}

// maxLooks bounds how many clients are looked for at once: of a site that is lost,
// the lifecycle events must tell.
const maxLooks = 20

// look asks whether a client whose will came is connected all the same, unless its
// connections have told since.
func (p *Page) look(ctx context.Context, id string, news int) {
	p.mu.Lock()
	told, asks := p.client(id).news != news, p.looking < maxLooks
	if !told && asks {
		p.looking++
	}
	p.mu.Unlock()
	if told {
		return
	}
	var found *iotdataplane.GetConnectionOutput
	if asks {
		found, _ = p.ask(ctx, id) // what cannot be asked, the lifecycle events must tell
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if asks {
		p.looking--
	}
	c := p.client(id)
	if c.news != news || ctx.Err() != nil {
		return
	}
	e := page.Event{Kind: page.Connected, Time: time.Now(), Client: id}
	switch {
	case found == nil && c.connected:
		e.Detail = "no lifecycle event says that it was lost"
	// What is read may be older than the end that was told.
	case found != nil && found.Connected && (c.connected || time.UnixMilli(found.ConnectedSince).After(c.told)):
		e.Detail = "it was not lost, or is back: " + sinceOf(found)
	default:
		return
	}
	c.connected = true
	c.news++
	p.tell(e)
}
