package deployed

import "context"

// A Paginator is one of the AWS SDK's.
type Paginator[Options, Page any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*Options)) (*Page, error)
}

// All returns the items of all pages of a list. Of a page that cannot be read there
// are none, but those of the pages before.
func All[Options, Page, Item any](ctx context.Context, pages Paginator[Options, Page], items func(*Page) []Item) ([]Item, error) {
	var all []Item
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return all, err
		}
		all = append(all, items(page)...)
	}
	return all, nil
}
