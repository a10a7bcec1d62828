package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// An operation creates, updates or deletes one stack. What it must not forget in
// a restart is in the stack's Pending.
type operation struct {
	service *Service
	stack   *stack
	target  *target
	scope   *scope
	// imports are the exports that the target has read.
	imports map[string]bool
	// failed stops what has not begun yet.
	failed atomic.Bool
}

// undo remembers how to take back one change to a resource.
type undo struct {
	Now    *Resource // created or changed by this operation
	Before *Resource // nil if it did not exist
	// Replaced tells that Before still exists beside Now.
	Replaced bool
}

var (
	errCancelled = errors.New("cancelled: another resource failed")
	errBlocked   = errors.New("a resource that depends on it could not be deleted")
)

func (op *operation) create(t *target) {
	op.aim(t)
	op.describe()
	err := op.apply()
	if err == nil {
		op.commit()
		op.stackEvent("CREATE_COMPLETE", "")
		return
	}
	reason := op.failedReason(err, "create")
	if t.input.DisableRollback {
		op.stackEvent("CREATE_FAILED", reason)
		return
	}
	op.stackEvent("ROLLBACK_IN_PROGRESS", reason+" Rollback requested by user.")
	op.rollBackCreate()
}

func (op *operation) rollBackCreate() {
	if op.deleteResources(true) != nil {
		op.stackEvent("ROLLBACK_FAILED", op.failedReason(nil, "delete"))
		return
	}
	op.stackEvent("ROLLBACK_COMPLETE", "")
}

func (op *operation) update(t *target) {
	op.aim(t)
	op.remove()
	err := op.apply()
	if err == nil {
		op.commit()
		op.stackEvent("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")
		op.finish("UPDATE_COMPLETE")
		return
	}
	reason := op.failedReason(err, "update")
	if t.input.DisableRollback {
		op.stackEvent("UPDATE_FAILED", reason)
		return
	}
	op.forgetCleanup()
	op.stackEvent("UPDATE_ROLLBACK_IN_PROGRESS", reason)
	op.rollBackUpdate()
}

func (op *operation) rollBackUpdate() {
	if err := op.takeBack(); err != nil {
		op.stackEvent("UPDATE_ROLLBACK_FAILED", op.failedReason(err, "update"))
		return
	}
	op.stackEvent("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "")
	op.finish("UPDATE_ROLLBACK_COMPLETE")
}

// finish deletes what the stack no longer has. A resource that cannot be deleted
// stays behind with an event that says so, as on AWS: the operation itself has
// ended.
func (op *operation) finish(status string) {
	rollback := status == "UPDATE_ROLLBACK_COMPLETE"
	_ = op.deleteInOrder(op.cleanup(), func(r *Resource) bool {
		if now, exists := op.resource(r.LogicalID); exists && !now.same(r) { // one replaced the other
			return r.UpdateReplacePolicy == "Retain" && !rollback
		}
		return r.retained(rollback)
	}) // each failure is an event
	op.stackEvent(status, "")
}

// retained tells whether a resource outlives its place in the template, or the
// rollback of the operation that created it (template reference, DeletionPolicy).
func (r *Resource) retained(rollback bool) bool {
	return r.DeletionPolicy == "Retain" || r.DeletionPolicy == "RetainExceptOnCreate" && !rollback
}

func (op *operation) delete() {
	if op.deleteResources(false) != nil {
		op.stackEvent("DELETE_FAILED", op.failedReason(nil, "delete"))
		return
	}
	op.stackEvent("DELETE_COMPLETE", "")
}

func (op *operation) aim(t *target) {
	op.target, op.imports = t, map[string]bool{}
	op.scope = &scope{
		template: t.template, parameters: t.values, conditions: t.conditions, resource: op.resource,
		stored: op.service.options.Parameter,
		imported: func(name string) (string, error) {
			op.service.mu.Lock()
			defer op.service.mu.Unlock()
			op.imports[name] = true
			return op.service.imported(name)
		},
	}
}

// apply creates and changes resources until they are what the target says.
func (op *operation) apply() error {
	err := walk(op.target.template.order, op.target.template.dependencies, func(id string) error {
		if op.failed.Load() {
			return errCancelled
		}
		err := op.applyResource(id)
		if err != nil {
			op.failed.Store(true)
		}
		return err
	})
	if err != nil {
		return err
	}
	return op.outputs()
}

func (op *operation) applyResource(id string) error {
	if !op.target.has(id) {
		return nil
	}
	definition := op.target.template.Resources[id]
	wanted := &Resource{
		LogicalID: id, Type: definition.Type, Tags: op.target.input.Tags,
		DeletionPolicy: definition.DeletionPolicy, UpdateReplacePolicy: definition.UpdateReplacePolicy,
		DependsOn: op.target.template.dependencies(id),
	}
	existing, exists := op.resource(id)
	kind, err := op.prepare(wanted)
	switch {
	case err != nil && exists:
		op.event(wanted, "UPDATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", id, err)
	case err != nil:
		op.event(wanted, "CREATE_IN_PROGRESS", "")
		op.event(wanted, "CREATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", id, err)
	case !exists, op.target.drifted[id] == Deleted:
		return op.createResource(kind, wanted)
	case op.target.drifted[id] == "" && !changed(kind, existing, wanted):
		op.keep(existing, wanted)
		return nil
	case needsReplacement(kind, existing, wanted):
		return op.replaceResource(kind, existing, wanted)
	}
	return op.updateResource(kind, existing, wanted)
}

// prepare resolves and checks the properties of a resource.
func (op *operation) prepare(r *Resource) (Type, error) {
	kind, ok := op.service.options.kind(r.Type)
	if !ok {
		return kind, fmt.Errorf("resource type %s is not supported here", r.Type)
	}
	properties, err := op.scope.properties(r.LogicalID)
	if err != nil {
		return kind, err
	}
	r.Properties = properties
	return kind, nil
}

func changed(kind Type, existing, wanted *Resource) bool {
	return existing.Type != wanted.Type || !reflect.DeepEqual(existing.Properties, wanted.Properties) ||
		strings.HasSuffix(existing.Status, "_FAILED") ||
		slices.Contains(kind.Properties, "Tags") && !maps.Equal(existing.Tags, wanted.Tags)
}

func needsReplacement(kind Type, existing, wanted *Resource) bool {
	if existing.Type != wanted.Type || kind.Update == nil {
		return true
	}
	return slices.ContainsFunc(kind.Replacement, func(name string) bool {
		return !reflect.DeepEqual(existing.Properties[name], wanted.Properties[name])
	})
}

func (op *operation) createResource(kind Type, r *Resource) error {
	op.event(r, "CREATE_IN_PROGRESS", "")
	if err := op.change(kind, kind.Create, r, nil, undo{Now: r}); err != nil {
		op.event(r, "CREATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", r.LogicalID, err)
	}
	op.event(r, "CREATE_COMPLETE", "")
	return nil
}

func (op *operation) updateResource(kind Type, existing, r *Resource) error {
	r.PhysicalID = existing.PhysicalID
	op.event(r, "UPDATE_IN_PROGRESS", "")
	if err := op.change(kind, kind.Update, r, existing.Properties, undo{Now: r, Before: existing}); err != nil {
		op.event(r, "UPDATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", r.LogicalID, err)
	}
	op.event(r, "UPDATE_COMPLETE", "")
	return nil
}

// replaceResource makes the new resource before the old one goes, which happens
// once everything else has succeeded.
func (op *operation) replaceResource(kind Type, existing, r *Resource) error {
	if op.target.input.DisableRollback {
		err := errors.New("replacement type updates not permitted on stack with disable-rollback")
		op.event(r, "UPDATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", r.LogicalID, err)
	}
	op.event(r, "UPDATE_IN_PROGRESS", "Requested update requires the creation of a new physical resource; hence creating one.")
	if err := op.change(kind, kind.Create, r, nil, undo{Now: r, Before: existing, Replaced: true}); err != nil {
		op.event(r, "UPDATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", r.LogicalID, err)
	}
	op.event(r, "UPDATE_COMPLETE", "")
	return nil
}

// change makes or changes a resource and records it with the way back.
func (op *operation) change(kind Type, do func(Request) (Result, error), r *Resource, previous map[string]any, u undo) error {
	var result Result
	var err error
	op.run(kind, func() {
		result, err = do(op.request(r, previous))
	}, func() {
		if err != nil && !result.Partial {
			return
		}
		op.service.mu.Lock()
		defer op.service.mu.Unlock()
		r.PhysicalID, r.Attributes = result.PhysicalID, result.Attributes
		op.stack.Resources[r.LogicalID] = r
		u.Replaced = u.Replaced || u.Before != nil && u.Before.PhysicalID != r.PhysicalID
		pending := op.stack.Pending
		pending.Undo = append(pending.Undo, u)
		if u.Replaced {
			pending.Cleanup = append(pending.Cleanup, u.Before)
		}
	})
	return err
}

// run does something with a resource and records it, so that no save sees the one
// without the other, unless the first takes too long to wait for.
func (op *operation) run(kind Type, do, record func()) {
	if kind.Slow {
		do()
		op.service.options.Atomically(record)
		return
	}
	op.service.options.Atomically(func() {
		do()
		record()
	})
}

// keep takes over what a template says of a resource beside its properties.
func (op *operation) keep(existing, wanted *Resource) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	existing.DependsOn = wanted.DependsOn
	existing.DeletionPolicy, existing.UpdateReplacePolicy = wanted.DeletionPolicy, wanted.UpdateReplacePolicy
}

// remove sets aside the resources that the target does not have, to be deleted
// in the end.
func (op *operation) remove() {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(op.stack.Resources)) {
		r := op.stack.Resources[id]
		aside := slices.ContainsFunc(op.stack.Pending.Cleanup, r.same)
		if !op.target.has(id) && !aside {
			op.stack.Pending.Cleanup = append(op.stack.Pending.Cleanup, r)
		}
	}
}

func (op *operation) cleanup() []*Resource {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	return slices.Clone(op.stack.Pending.Cleanup)
}

func (op *operation) forgetCleanup() {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.stack.Pending.Cleanup = nil
}

// same tells whether both are the same physical resource.
func (r *Resource) same(other *Resource) bool {
	return r.LogicalID == other.LogicalID && r.Type == other.Type && r.PhysicalID == other.PhysicalID
}

// commit makes the target what the stack is.
func (op *operation) commit() {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.describeLocked()
	in := op.target.input
	op.stack.RoleARN, op.stack.Imports = in.RoleARN, op.imports
	op.stack.Updated, op.stack.DisableRollback = time.Now().UTC(), in.DisableRollback
	for _, r := range op.stack.Pending.Cleanup {
		op.forget(r)
	}
}

// describe makes the target what the stack says of itself: a stack has its template even
// if its creation fails.
func (op *operation) describe() {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.describeLocked()
}

func (op *operation) describeLocked() {
	t := op.target
	op.stack.TemplateBody, op.stack.Description = string(t.input.TemplateBody), t.template.Description
	op.stack.template = t.template
	op.stack.Parameters, op.stack.Tags, op.stack.Hidden = t.given, maps.Clone(t.input.Tags), t.template.hidden()
}

// forget removes a resource from the stack if it is the one there; service.mu is held.
func (op *operation) forget(r *Resource) {
	if there := op.stack.Resources[r.LogicalID]; there != nil && there.same(r) {
		delete(op.stack.Resources, r.LogicalID)
	}
}

// takeBack takes back what an update changed, last change first, and sets aside
// what it created.
func (op *operation) takeBack() error {
	for {
		op.service.mu.Lock()
		left := op.stack.Pending.Undo
		op.service.mu.Unlock()
		if len(left) == 0 {
			return nil
		}
		if err := op.takeBackOne(left[len(left)-1]); err != nil {
			return err
		}
	}
}

func (op *operation) takeBackOne(u undo) (err error) {
	inPlace := u.Before != nil && !u.Replaced
	restored := u.Before
	if inPlace {
		copied := *u.Before
		restored = &copied
		op.event(restored, "UPDATE_IN_PROGRESS", "")
	}
	kind, result := Type{}, Result{}
	if inPlace {
		kind, _ = op.service.options.kind(restored.Type)
	}
	op.run(kind, func() {
		if inPlace {
			result, err = kind.Update(op.request(restored, u.Now.Properties))
		}
	}, func() {
		if err != nil {
			return
		}
		op.service.mu.Lock()
		defer op.service.mu.Unlock()
		pending := op.stack.Pending
		pending.Undo = pending.Undo[:len(pending.Undo)-1]
		if inPlace {
			restored.PhysicalID, restored.Attributes = result.PhysicalID, result.Attributes
		} else {
			pending.Cleanup = append(pending.Cleanup, u.Now)
		}
		if restored == nil {
			delete(op.stack.Resources, u.Now.LogicalID)
		} else {
			op.stack.Resources[restored.LogicalID] = restored
		}
	})
	switch {
	case err != nil:
		op.event(restored, "UPDATE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", restored.LogicalID, err)
	case inPlace:
		op.event(restored, "UPDATE_COMPLETE", "")
	}
	return nil
}

// deleteResources deletes all resources of the stack, in the rollback of its
// creation or when it is deleted.
func (op *operation) deleteResources(rollback bool) error {
	op.service.mu.Lock()
	resources := slices.Collect(maps.Values(op.stack.Resources))
	op.service.mu.Unlock()
	return op.deleteInOrder(resources, func(r *Resource) bool { return r.retained(rollback) })
}

// deleteInOrder deletes each resource after those that depend on it. One that
// fails keeps only what it depends on.
func (op *operation) deleteInOrder(resources []*Resource, retain func(*Resource) bool) error {
	byID := map[string]*Resource{}
	for _, r := range resources {
		byID[r.LogicalID] = r
	}
	dependents := map[string][]string{}
	for id, r := range byID {
		for _, dependency := range r.DependsOn {
			if byID[dependency] != nil {
				dependents[dependency] = append(dependents[dependency], id)
			}
		}
	}
	ids := slices.Sorted(maps.Keys(byID))
	return walk(ids, func(id string) []string { return dependents[id] }, func(id string) error {
		return op.deleteResource(byID[id], retain(byID[id]))
	})
}

func (op *operation) deleteResource(r *Resource, retain bool) (err error) {
	done, note := "DELETE_SKIPPED", ""
	kind := Type{Delete: func(Request) error { return nil }}
	if !retain {
		done = "DELETE_COMPLETE"
		kind, _ = op.service.options.kind(r.Type)
		op.event(r, "DELETE_IN_PROGRESS", "")
	}
	op.run(kind, func() {
		err = kind.Delete(op.request(r, nil))
		if left, ok := errors.AsType[*LeftError](err); ok {
			note, err = left.Reason, nil
		}
	}, func() {
		if err != nil {
			return
		}
		op.service.mu.Lock()
		defer op.service.mu.Unlock()
		op.forget(r)
	})
	if err != nil {
		op.event(r, "DELETE_FAILED", err.Error())
		return fmt.Errorf("%s: %w", r.LogicalID, err)
	}
	op.event(r, done, note)
	return nil
}

func (op *operation) request(r *Resource, previous map[string]any) Request {
	return op.stack.request(r, previous)
}

func (st *stack) request(r *Resource, previous map[string]any) Request {
	return Request{
		StackName: st.Name, StackID: st.ID, LogicalID: r.LogicalID, Type: r.Type,
		PhysicalID: r.PhysicalID, Properties: r.Properties, Previous: previous, Tags: r.Tags,
	}
}

// outputs resolves the outputs of a stack whose resources all exist.
func (op *operation) outputs() error {
	var outputs []Output
	for _, key := range slices.Sorted(maps.Keys(op.target.template.Outputs)) {
		output, present, err := op.output(key)
		if err != nil {
			return fmt.Errorf("output %s: %w", key, err)
		}
		if present {
			outputs = append(outputs, output)
		}
	}
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	for _, before := range op.stack.Outputs {
		importer := op.service.importer(op.stack, before.ExportName)
		kept := slices.ContainsFunc(outputs, func(o Output) bool { return o.ExportName == before.ExportName && o.Value == before.Value })
		if importer != "" && !kept {
			return fmt.Errorf("Cannot delete or update export %s as it is in use by %s.", before.ExportName, importer) //nolint:staticcheck // AWS's words
		}
	}
	op.stack.Outputs = outputs
	return nil
}

func (op *operation) output(key string) (out Output, present bool, err error) {
	definition := op.target.template.Outputs[key]
	if definition.Condition != "" && !op.target.conditions[definition.Condition] {
		return out, false, nil
	}
	out = Output{Key: key, Description: definition.Description}
	if out.Value, err = op.text(definition.Value); err != nil {
		return out, false, err
	}
	if definition.Export.Name == nil {
		return out, true, nil
	}
	if out.ExportName, err = op.text(definition.Export.Name); err != nil {
		return out, false, err
	}
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	for _, other := range op.service.stacks {
		taken := slices.ContainsFunc(other.Outputs, func(o Output) bool { return o.ExportName == out.ExportName })
		if taken && other != op.stack && other.Status != "DELETE_COMPLETE" {
			return out, false, fmt.Errorf("export %s is taken by stack %s", out.ExportName, other.Name)
		}
	}
	return out, true, nil
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

// failedReason names the resources that failed, as AWS's stack events do.
func (op *operation) failedReason(err error, verb string) string {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	var failed []string
	for _, e := range op.stack.Events[op.stack.Begun:] {
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
	defer op.service.mu.Unlock()
	op.stackEventLocked(status, reason)
}

// stackEventLocked changes the status of the stack; service.mu is held. A status
// that is not in progress is the end of the operation: nobody sees, or saves, the
// one without the other.
func (op *operation) stackEventLocked(status, reason string) {
	st := op.stack
	st.Status, st.StatusReason = status, reason
	if status == "DELETE_COMPLETE" {
		st.Deleted = time.Now().UTC()
	}
	op.recordLocked(Event{LogicalID: st.Name, PhysicalID: st.ID, Type: StackType, Status: status, StatusReason: reason})
	if !strings.HasSuffix(status, "_IN_PROGRESS") {
		st.Pending = nil
		op.service.forgetDeleted()
		close(st.idle)
	}
}

func (op *operation) event(r *Resource, status, reason string) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	r.Status, r.StatusReason, r.Updated = status, reason, time.Now().UTC()
	op.recordLocked(Event{LogicalID: r.LogicalID, PhysicalID: r.PhysicalID, Type: r.Type, Status: status, StatusReason: reason})
}

// recordLocked adds an event to the stack; service.mu is held.
func (op *operation) recordLocked(e Event) {
	e.ID, e.StackID, e.StackName, e.Time = awsapi.NewID(), op.stack.ID, op.stack.Name, time.Now().UTC()
	op.stack.Events = append(op.stack.Events, e)
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
		if err := nodes[id].err; err != nil && !errors.Is(err, errBlocked) && !errors.Is(err, errCancelled) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
