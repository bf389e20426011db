package deploy

import (
	"context"

	"ferry/internal/hostapi"
)

// wanted is which runner a VM should have, and what follows from that for the
// steps of a deployment. How it is activated doesn't depend on it.
type wanted interface {
	// resolve learns before any login what is wanted where.
	resolve(ctx context.Context, r *run, p progress) (progress, error)
	// find asks the host what there is, and says which runner it shall be, as far
	// as that is known before the lock is had.
	find(ctx context.Context, r *run, p progress) (progress, error)
	// foresee plans while others may still work on the VM, and ends a deployment
	// that has nothing to do.
	foresee(ctx context.Context, r *run, p progress) (progress, error)
	// claim is what the host roots and notes for it.
	claim(p progress) hostapi.PrepareRequest
	// reprobe asks again what may have changed while the lock was waited for.
	reprobe(ctx context.Context, r *run, p progress) (progress, error)
	// obtain has the runner in the host's store, rooted.
	obtain(ctx context.Context, r *run, p progress) (progress, error)
	// decide says what is to be done with it, now that nobody else works on the VM.
	decide(ctx context.Context, r *run, p progress) (progress, error)
}
