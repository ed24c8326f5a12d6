import Fencing

/// Locks the reservations that a submission needs, with back-off, and holds them until it ends.
///
/// ```swift
/// var exec = ExecLocking(ignoresDuplicates: true)
/// try exec.untilAllLocked { exec throws(GPUVMError) in
///     try exec.prepareVM(vm, slots: 1)
///     try exec.prepareExternalObjects(of: vm, slots: 1)
///     try vm.validate { … }
/// }
/// exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
/// exec.unlockAll()
/// ```
///
/// Each object locked has a hard reference of the attempt until ``unlockAll()``. Objects that are
/// found through a VM and have no hard reference left are passed over (weak VMs).
///
/// Source: drivers/gpu/drm/drm_exec.c, `drm_gpuvm_exec_lock` and its siblings.
///
/// Threading: one thread, with the VM lock of every VM that is passed in. Unlocks in `deinit`.
public struct ExecLocking: ~Copyable {
    /// What a reservation was locked for.
    enum Purpose {
        /// The work that is being submitted.
        case work
        /// To make room for the work: the reservation gets other fences than the work's.
        case victim
        /// Locked by the slow path, and not asked for again since.
        case contended
    }

    struct Entry {
        var object: GPUVMObject
        var purpose: Purpose
        /// The attempt has a hard reference on the object.
        var isReferenced: Bool
    }

    /// Locking a reservation again is no error.
    public let ignoresDuplicates: Bool
    /// What ends the attempt's waits with ``GPUVMError/interrupted``; nil for nothing.
    public let cancellation: Cancellation?
    /// How often the attempt met an older one, gave everything up and started over.
    public private(set) var backOffCount = 0

    var entries: [Entry] = []
    private(set) var context: AcquireContext
    /// ``unlockAll()`` ended the attempt: the next one is a younger one.
    private var isOver = false
    /// What the last run of the body could not get.
    private var contended: Entry?
    /// Referenced objects whose reservations were given up in the middle. The last reference is not
    /// dropped while others are locked, because what follows may need a lock further outside.
    private var unlocked: [GPUVMObject] = []
    /// What this run of the body has prepared last: arrays of operations name the same few objects
    /// again and again. Outside of a body fences may use the slots, so nothing is remembered.
    private var prepared = PreparedObjects()
    private var isInBody = false

    /// Starts an attempt that holds nothing.
    public init(ignoresDuplicates: Bool = false, cancellation: Cancellation? = nil) {
        self.ignoresDuplicates = ignoresDuplicates
        self.cancellation = cancellation
        context = AcquireContext(cancellation: cancellation)
    }

    deinit { Self.giveUp(entries, unlocked, contended, context) }

    private static func giveUp(
        _ entries: [Entry], _ unlocked: [GPUVMObject], _ contended: Entry?,
        _ context: AcquireContext
    ) {
        for entry in entries.reversed() { entry.object.reservation.unlock(context) }
        for entry in entries where entry.isReferenced { entry.object.releaseHardReference() }
        for object in unlocked { object.releaseHardReference() }
        if let contended, contended.isReferenced { contended.object.releaseHardReference() }
    }

    // MARK: - The attempt

    /// Runs `body` until it meets no contention: on one, everything is unlocked, the contended
    /// reservation is waited for, and `body` starts over. If it fails, everything is unlocked.
    ///
    /// Afterwards nothing more can be locked by waiting, because nobody would start over.
    ///
    /// - Throws: What `body` throws, but for ``GPUVMError/contended``;
    ///   ``GPUVMError/interrupted``.
    public mutating func untilAllLocked(
        _ body: (inout ExecLocking) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        begin()
        while true {
            do {
                try lockContended()
                isInBody = true
                try body(&self)
                leaveBody()
                // What the last run needed and this one does not stays locked, as in the kernel.
                context.done()
                return
            } catch .contended where contended != nil {
                backOff()
            } catch {
                unlockAll()
                throw error
            }
        }
    }

    /// Gives up everything that is locked, and the hard references: the attempt is over.
    ///
    /// A last hard reference is dropped here, after all reservations.
    public mutating func unlockAll() {
        Self.giveUp(entries, unlocked, contended, context)
        entries.removeAll(keepingCapacity: true)
        unlocked.removeAll(keepingCapacity: true)
        leaveBody()
        contended = nil
        isOver = true
    }

    /// An old context in a new attempt would overtake those who came meanwhile, again and again.
    private mutating func begin() {
        guard isOver else { return }
        isOver = false
        context = AcquireContext(cancellation: cancellation)
    }

    private mutating func leaveBody() {
        isInBody = false
        prepared.forget()
    }

    private mutating func backOff() {
        backOffCount += 1
        #if MUTANTS
            if Mutant.isPlanted("backoffKeepsLocks") { return }
        #endif
        let wanted = contended
        leaveBody()
        Self.giveUp(entries, unlocked, nil, context)
        entries.removeAll(keepingCapacity: true)
        unlocked.removeAll(keepingCapacity: true)
        contended = wanted
    }

    /// The slow path: waits with nothing in hand, in the order of age.
    private mutating func lockContended() throws(GPUVMError) {
        guard var entry = contended else { return }
        do throws(ReservationError) {
            try entry.object.reservation.lockSlow(context)
        } catch {
            throw GPUVMError(error)
        }
        contended = nil
        entry.purpose = .contended
        entries.append(entry)
    }

    /// Position of this attempt in the order of age; smaller is older. After ``unlockAll()`` it is
    /// that of the attempt that ended.
    public var stamp: UInt64 { context.stamp }

    // MARK: - What is locked

    /// The objects whose reservations are locked, in that order. O(objects), allocates.
    public var lockedObjects: [GPUVMObject] { entries.map(\.object) }

    /// Whether this attempt holds the reservation.
    public func holds(_ reservation: Reservation) -> Bool { reservation.isLocked(by: context) }

    /// Calls `body` for each object that was locked for the work, in that order: one for a
    /// reservation. Victims and what an abandoned run of the body wanted are left out.
    public func forEachLocked(_ body: (GPUVMObject) -> Void) {
        for entry in entries where entry.purpose == .work { body(entry.object) }
    }

    /// Adds a fence to every reservation that was locked for the work and has slots (that of
    /// ``prepare(_:slots:)`` and its siblings): with `privateUsage` where it is the VM's, else with
    /// `externalUsage`.
    ///
    /// Source: `drm_gpuvm_resv_add_fence`.
    public func addFence(
        _ fence: Fence, vm: GPUVM, privateUsage: FenceUsage, externalUsage: FenceUsage
    ) {
        for entry in entries where entry.purpose == .work {
            var isExternal = vm.isExternal(entry.object)
            #if MUTANTS
                if Mutant.isPlanted("usageSwapped") { isExternal.toggle() }
            #endif
            _ = entry.object.reservation.addIfPrepared(
                fence, usage: isExternal ? externalUsage : privateUsage)
        }
    }

    // MARK: - One object

    /// Locks an object's reservation. The caller answers for the object's life.
    ///
    /// - Throws: ``GPUVMError/contended`` (leave the body of ``untilAllLocked(_:)`` with it),
    ///   ``GPUVMError/alreadyLocked`` unless duplicates are ignored, ``GPUVMError/interrupted``.
    public mutating func lock(_ object: GPUVMObject) throws(GPUVMError) {
        if try acquire(object, .work) == .duplicate, !ignoresDuplicates { throw .alreadyLocked }
    }

    /// Locks an object's reservation and makes room for `slots` fences.
    ///
    /// - Throws: As ``lock(_:)``; ``GPUVMError/noFenceSlots`` for 0 slots, and the object is
    ///   unlocked again.
    public mutating func prepare(_ object: GPUVMObject, slots: Int) throws(GPUVMError) {
        if ignoresDuplicates, isKnownPrepared(Unmanaged.passUnretained(object), slots: slots) {
            return
        }
        try lock(object)
        try reserve(object, slots)
    }

    /// Whether the run of the body remembers that the object was prepared; it may forget.
    ///
    /// O(1), and the object is not touched.
    @inline(__always)
    public func isKnownPrepared(_ object: Unmanaged<GPUVMObject>, slots: Int) -> Bool {
        prepared.contains(object, slots: slots)
    }

    /// Whether this attempt holds the object's reservation, with room for `slots` more fences.
    mutating func isPrepared(_ object: GPUVMObject, slots: Int) -> Bool {
        guard object.reservation.isPrepared(slots, by: context) else { return false }
        remember(object, slots)
        return true
    }

    mutating func reserve(_ object: GPUVMObject, _ slots: Int) throws(GPUVMError) {
        do throws(ReservationError) {
            try object.reservation.reserve(slots)
        } catch {
            if let index = entries.lastIndex(where: { $0.object === object }) { unlock(at: index) }
            throw GPUVMError(error)
        }
        remember(object, slots)
    }

    private mutating func remember(_ object: GPUVMObject, _ slots: Int) {
        if isInBody { prepared.note(object, slots: slots) }
    }

    enum Acquired {
        case locked
        /// This attempt holds the reservation already.
        case duplicate
        /// The object had to be alive and is not.
        case dead
    }

    /// - Parameter mustLive: The object was found through a VM that may not keep it: nothing is
    ///   locked if it has no hard reference left.
    mutating func acquire(
        _ object: GPUVMObject, _ purpose: Purpose, mustLive: Bool = false
    ) throws(GPUVMError) -> Acquired {
        begin()
        if mustLive, object.hardReferenceCount == 0 { return .dead }
        if meetContended(object, purpose) { return .locked }
        do throws(ReservationError) {
            try object.reservation.lock(context)
        } catch {
            switch error {
            case .alreadyLocked: return .duplicate
            case .deadlock: contended = makeEntry(object, purpose)
            case .interrupted, .noSlots: break
            }
            throw GPUVMError(error)
        }
        let entry = makeEntry(object, purpose)
        if mustLive, !entry.isReferenced {
            object.reservation.unlock(context)
            return .dead
        }
        entries.append(entry)
        return .locked
    }

    /// The slow path's reservation is met once more by who wanted it.
    private mutating func meetContended(_ object: GPUVMObject, _ purpose: Purpose) -> Bool {
        // If there is one, it was locked before everything else.
        guard let first = entries.first, first.purpose == .contended,
            first.object.reservation === object.reservation
        else { return false }
        if first.object !== object {
            if first.isReferenced { unlocked.append(first.object) }
            entries[0] = makeEntry(object, purpose)
        }
        entries[0].purpose = purpose
        return true
    }

    private func makeEntry(_ object: GPUVMObject, _ purpose: Purpose) -> Entry {
        Entry(object: object, purpose: purpose, isReferenced: object.tryAcquireHardReference())
    }

    private mutating func unlock(at index: Int) {
        prepared.forget()
        let entry = entries.remove(at: index)
        entry.object.reservation.unlock(context)
        if entry.isReferenced { unlocked.append(entry.object) }
    }

    // MARK: - Victims

    /// Locks the reservation of an object whose memory the work needs.
    ///
    /// The work's fence is not for it; the caller reserves the slots that the eviction needs.
    ///
    /// - Parameter waiting: Wait for it, by the rule of wait/wound, instead of passing over one that
    ///   somebody else has. Only inside the body of ``untilAllLocked(_:)``.
    /// - Returns: False if this attempt holds the reservation already, or if somebody else does and
    ///   `waiting` is false. True also for the one that the slow path waited for, once.
    /// - Throws: As ``lock(_:)``, but never ``GPUVMError/alreadyLocked``.
    public mutating func lockVictim(
        _ object: GPUVMObject, waiting: Bool
    ) throws(GPUVMError) -> Bool {
        // Whoever evicts adds fences.
        prepared.forget()
        if waiting { return try acquire(object, .victim) == .locked }
        begin()
        if meetContended(object, .victim) { return true }
        guard object.reservation.tryLock(context) else { return false }
        entries.append(makeEntry(object, .victim))
        return true
    }

    /// Unlocks a victim's reservation early. A programming error unless ``lockVictim(_:waiting:)``
    /// answered true for it. O(objects).
    public mutating func unlockVictim(_ object: GPUVMObject) {
        guard
            let index = entries.lastIndex(where: {
                $0.purpose == .victim && $0.object.reservation === object.reservation
            })
        else { preconditionFailure("this object was not locked as a victim") }
        unlock(at: index)
    }
}
