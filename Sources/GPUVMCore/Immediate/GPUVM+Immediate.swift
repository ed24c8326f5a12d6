// Immediate mode: requests are carried out on the fence-signalling path, mapping by mapping. Nothing
// is allocated and nothing fails: the mappings were reserved at submission, the pair of a map was
// obtained, VM_BOs without references wait for the deferred clean-up, and each step is a change of its
// own, so that neither an op list nor a journal grows.
//
// The steps, their order and the mappings, link orders and counts that result are those of a plan
// that is applied.
extension GPUVM {
    /// Carries a map request out: cuts or removes each mapping it overlaps, by address, then maps.
    ///
    /// Immediate mode only, under the VM's lock of class ``Fencing/LockClass/vmOperation``. A VM that
    /// was closed meanwhile stays as it is.
    ///
    /// - Parameters:
    ///   - request: Not empty and valid (see ``isValid(address:range:)``): submission checked it.
    ///   - pair: The pair of this VM and the request's object, obtained; nil without an object. Its
    ///     reference stays the caller's.
    ///   - carried: Flags of an old mapping that the pieces of a remap inherit.
    ///   - reservation: Room for three mappings.
    ///   - body: Called with each op before it is carried out.
    /// - Complexity: O(log n) for each op; allocates nothing.
    public func executeMap(
        _ request: MapRequest, pair: GPUVMBO.ID?, carrying carried: GPUVAFlags = [],
        using reservation: inout ImmediateReservation, _ body: (GPUVAOp) -> Void
    ) {
        precondition(
            request.object === pair.map { object(of: $0.slot) }, "the pair is not the request's")
        let map = request.op
        execute(request.address, request.range, carried, &reservation) { old, end in
            let op = replace(old, by: map, end)
            body(op)
            return op
        } finally: {
            body(.map(map))
            beginChange()
            insertExecuted(map, pair: pair?.slot ?? 0)
            endChange()
        }
    }

    /// Carries an unmap request out: cuts or removes each mapping in the range, by address. Bytes.
    ///
    /// Immediate mode only; see ``executeMap(_:pair:carrying:using:_:)``. Room for two mappings is
    /// reserved.
    public func executeUnmap(
        address: UInt64, range: UInt64, carrying carried: GPUVAFlags = [],
        using reservation: inout ImmediateReservation, _ body: (GPUVAOp) -> Void
    ) {
        execute(address, range, carried, &reservation) { old, end in
            let op = remove(old, address, end)
            body(op)
            return op
        } finally: {
        }
    }

    /// Removes every mapping of an object in this VM, in link order; nothing if there is none.
    ///
    /// Immediate mode only; see ``executeMap(_:pair:carrying:using:_:)``. The caller keeps the object
    /// alive. It adds no mapping, so that any reservation will do.
    public func executeUnmapObject(
        _ object: GPUVMObject, using reservation: inout ImmediateReservation,
        _ body: (GPUVAOp) -> Void
    ) {
        precondition(isImmediate && reservation.vm === self, "a reservation of another VM")
        var id = firstMapping(of: object)
        while id != 0 {
            // The pair may end with its last mapping, and the mapping's record with its removal.
            let next = vas[id].next
            body(.unmap(GPUVAOp.Unmap(va: va(id), keep: false, overlapCase: nil)))
            beginChange()
            applyUnmap(id)
            endChange()
            id = next
        }
    }

    private func execute(
        _ address: UInt64, _ range: UInt64, _ carried: GPUVAFlags,
        _ reservation: inout ImmediateReservation, _ step: (GPUVA, UInt64) -> GPUVAOp,
        finally: () -> Void
    ) {
        precondition(isImmediate && reservation.vm === self, "a reservation of another VM")
        precondition(
            range != 0 && isValid(address: address, range: range),
            "a request is executed that its submission did not check")
        guard !isClosed else { return }
        state.pointee.heldVAs = reservation.mappings
        let end = address &+ range
        var position = address
        while position < end {
            // The tree changed since the last step: search again.
            let cursor = firstOverlap(position, end &- 1)
            guard cursor != .end else { break }
            let old = va(tree.id(at: cursor))
            position = old.end
            let op = step(old, end)
            beginChange()
            switch op {
            case .remap(let remap): applyRemap(remap, carrying: carried)
            case .unmap(let unmap): applyUnmap(unmap.va.id)
            case .map, .prefetch: break
            }
            endChange()
        }
        finally()
        reservation.mappings = state.pointee.heldVAs
        state.pointee.heldVAs = 0
    }

    /// As the map op of a plan, but for the pair, which is there.
    private func insertExecuted(_ map: GPUVAOp.Map, pair: UInt32) {
        let id = insertVA(
            VARecord(
                address: map.piece.address, range: map.piece.range, offset: map.piece.offset,
                flags: map.flags.rawValue, vmBO: pair), isChecked: false)
        if pair != 0 { link(id, to: pair) }
    }
}
