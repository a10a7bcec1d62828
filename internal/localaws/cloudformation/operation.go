package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// An operation is one create or delete of one stack.
type operation struct {
	service *Service
	stack   *Stack
	scope   *scope
}

var (
	errCancelled = errors.New("Resource creation cancelled") //nolint:staticcheck,revive // the text that AWS's events carry
	errBlocked   = errors.New("a resource that depends on it could not be deleted")
)

func (op *operation) create(ctx context.Context) {
	op.stackEvent("CREATE_IN_PROGRESS", "User Initiated")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	template := op.scope.template
	order, err := template.order()
	if err == nil {
		err = walk(order, template.dependencies, func(id string) error {
			if ctx.Err() != nil {
				return errCancelled
			}
			if err := op.createResource(id); err != nil {
				cancel()
				return err
			}
			return nil
		})
	}
	if err == nil {
		err = op.outputs()
	}
	if err == nil {
		op.stackEvent("CREATE_COMPLETE", "")
		return
	}
	op.stackEvent("ROLLBACK_IN_PROGRESS", op.failedReason(err, "create"))
	if op.deleteResources(context.WithoutCancel(ctx)) != nil {
		op.stackEvent("ROLLBACK_FAILED", op.failedReason(nil, "delete"))
		return
	}
	op.stackEvent("ROLLBACK_COMPLETE", "")
}

func (op *operation) createResource(id string) error {
	definition := op.scope.template.Resources[id]
	holds, err := op.scope.conditionNamed(definition.Condition)
	if err != nil || !holds {
		return err
	}
	r := &Resource{
		LogicalID: id, Type: definition.Type, DeletionPolicy: definition.DeletionPolicy,
		DependsOn: op.scope.template.dependencies(id),
	}
	op.event(r, "CREATE_IN_PROGRESS", "")
	result, err := op.callCreate(r)
	if err != nil {
		op.event(r, "CREATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", id, err)
	}
	op.service.mu.Lock()
	r.PhysicalID, r.Attributes = result.PhysicalID, result.Attributes
	op.stack.Resources[id] = r
	op.service.mu.Unlock()
	op.event(r, "CREATE_COMPLETE", "")
	return nil
}

func (op *operation) callCreate(r *Resource) (Result, error) {
	kind, ok := op.service.options.Types[r.Type]
	if !ok {
		return Result{}, fmt.Errorf("resource type %s is not supported here", r.Type)
	}
	properties, err := op.scope.properties(r.LogicalID)
	if err != nil {
		return Result{}, err
	}
	if err := kind.check(properties); err != nil {
		return Result{}, err
	}
	r.Properties = properties
	return kind.Create(op.request(r))
}

// check refuses properties that the type does not have, and missing ones.
func (t Type) check(properties map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if !slices.Contains(t.Properties, name) {
			return fmt.Errorf("property %s is not supported here (supported: %s)", name, strings.Join(t.Properties, ", "))
		}
	}
	for _, name := range t.Required {
		if _, ok := properties[name]; !ok {
			return fmt.Errorf("property %s is required", name)
		}
	}
	return nil
}

func (op *operation) request(r *Resource) Request {
	return Request{
		StackName: op.stack.Name, StackID: op.stack.ID, LogicalID: r.LogicalID,
		PhysicalID: r.PhysicalID, Properties: r.Properties, Tags: op.stack.Tags,
	}
}

func (op *operation) delete(ctx context.Context) {
	op.stackEvent("DELETE_IN_PROGRESS", "User Initiated")
	if op.deleteResources(ctx) != nil {
		op.stackEvent("DELETE_FAILED", op.failedReason(nil, "delete"))
		return
	}
	op.stackEvent("DELETE_COMPLETE", "")
}

// deleteResources deletes all resources of the stack, each after those that
// depend on it. One that fails keeps only what it depends on.
func (op *operation) deleteResources(ctx context.Context) error {
	op.service.mu.Lock()
	resources := maps.Clone(op.stack.Resources)
	op.service.mu.Unlock()
	dependents := map[string][]string{}
	for id, r := range resources {
		for _, dependency := range r.DependsOn {
			if _, ok := resources[dependency]; ok {
				dependents[dependency] = append(dependents[dependency], id)
			}
		}
	}
	ids := slices.Sorted(maps.Keys(resources))
	return walk(ids, func(id string) []string { return dependents[id] }, func(id string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return op.deleteResource(resources[id])
	})
}

func (op *operation) deleteResource(r *Resource) error {
	if r.DeletionPolicy == "Retain" || r.DeletionPolicy == "RetainExceptOnCreate" {
		op.event(r, "DELETE_SKIPPED", "")
	} else {
		op.event(r, "DELETE_IN_PROGRESS", "")
		if err := op.service.options.Types[r.Type].Delete(op.request(r)); err != nil {
			op.event(r, "DELETE_FAILED", err.Error())
			return fmt.Errorf("%s: %w", r.LogicalID, err)
		}
		op.event(r, "DELETE_COMPLETE", "")
	}
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	delete(op.stack.Resources, r.LogicalID)
	return nil
}

// outputs resolves the outputs of a stack whose resources all exist.
func (op *operation) outputs() error {
	template := op.scope.template
	var outputs []Output
	for _, key := range slices.Sorted(maps.Keys(template.Outputs)) {
		definition := template.Outputs[key]
		holds, err := op.scope.conditionNamed(definition.Condition)
		if err != nil {
			return fmt.Errorf("output %s: %w", key, err)
		}
		if !holds {
			continue
		}
		output := Output{Key: key, Description: definition.Description}
		if output.Value, err = op.text(definition.Value); err != nil {
			return fmt.Errorf("output %s: %w", key, err)
		}
		if definition.Export.Name != nil {
			if output.ExportName, err = op.text(definition.Export.Name); err != nil {
				return fmt.Errorf("output %s: %w", key, err)
			}
			if _, err := op.service.imported(output.ExportName); err == nil {
				return fmt.Errorf("output %s: export %s exists already", key, output.ExportName)
			}
		}
		outputs = append(outputs, output)
	}
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.stack.Outputs = outputs
	return nil
}

func (op *operation) text(v any) (string, error) {
	resolved, err := op.scope.resolve(v)
	if err != nil {
		return "", err
	}
	return scalarText(resolved)
}

func (op *operation) resource(id string) (*Resource, bool) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	r, ok := op.stack.Resources[id]
	return r, ok
}

func (op *operation) snapshot() *Stack {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	return op.stack.copy()
}

// failedReason names the resources that failed, as AWS's stack events do.
func (op *operation) failedReason(err error, verb string) string {
	var failed []string
	for _, e := range op.snapshot().Events {
		if e.LogicalID != op.stack.Name && strings.HasSuffix(e.Status, "_FAILED") {
			failed = append(failed, e.LogicalID)
		}
	}
	if len(failed) == 0 && err != nil {
		return err.Error()
	}
	slices.Sort(failed)
	return fmt.Sprintf("The following resource(s) failed to %s: [%s].", verb, strings.Join(slices.Compact(failed), ", "))
}

func (op *operation) stackEvent(status, reason string) {
	op.service.mu.Lock()
	op.stack.Status, op.stack.StatusReason = status, reason
	if status == "DELETE_COMPLETE" {
		op.stack.Deleted = time.Now().UTC()
	}
	op.service.mu.Unlock()
	op.record(Event{LogicalID: op.stack.Name, PhysicalID: op.stack.ID, Type: StackType, Status: status, StatusReason: reason})
}

func (op *operation) event(r *Resource, status, reason string) {
	op.service.mu.Lock()
	r.Status, r.StatusReason, r.Updated = status, reason, time.Now().UTC()
	op.service.mu.Unlock()
	op.record(Event{LogicalID: r.LogicalID, PhysicalID: r.PhysicalID, Type: r.Type, Status: status, StatusReason: reason})
}

func (op *operation) record(e Event) {
	e.ID, e.StackID, e.StackName, e.Time = awsapi.NewID(), op.stack.ID, op.stack.Name, time.Now().UTC()
	op.service.mu.Lock()
	op.stack.Events = append(op.stack.Events, e)
	op.service.mu.Unlock()
	op.service.options.OnEvent(e)
}

// walk calls f for every id, each after those it needs, independent ones side
// by side. Where f fails, what needs that id is left out. It returns all errors.
func walk(ids []string, needs func(id string) []string, f func(id string) error) error {
	type node struct {
		done chan struct{}
		err  error
	}
	nodes := make(map[string]*node, len(ids))
	for _, id := range ids {
		nodes[id] = &node{done: make(chan struct{})}
	}
	var running sync.WaitGroup
	for _, id := range ids {
		needed := needs(id)
		running.Go(func() {
			n := nodes[id]
			defer close(n.done)
			for _, other := range needed {
				<-nodes[other].done
				if nodes[other].err != nil {
					n.err = errBlocked
					return
				}
			}
			n.err = f(id)
		})
	}
	running.Wait()
	var errs []error
	for _, id := range ids {
		if err := nodes[id].err; err != nil && !errors.Is(err, errBlocked) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
