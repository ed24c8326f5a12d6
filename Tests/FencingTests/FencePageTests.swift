import CPlatform
import Glibc
import Testing

@testable import Fencing

// A slot gives itself back with its last reference, which the optimiser may drop at its last use:
// hence the extended lifetimes.
@Suite struct FencePageTests {
    typealias Target = FencePageReader.Target

    private func makeReader(_ page: FencePage) throws -> FencePageReader {
        let reader = FencePageReader()
        for chunk in 0..<page.chunkCount { try reader.addChunk(fd: try page.chunkFD(chunk)) }
        return reader
    }

    @Test func theLayoutIsTheHeaders() {
        typealias Slot = gpuvm_fence_slot
        #expect(MemoryLayout<Slot>.size == 32)
        #expect(MemoryLayout<Slot>.offset(of: \.value) == 0)
        #expect(MemoryLayout<Slot>.offset(of: \.submitted) == 8)
        #expect(MemoryLayout<Slot>.offset(of: \.wake_count) == 16)
        #expect(MemoryLayout<Slot>.offset(of: \.generation) == 20)
        #expect(MemoryLayout<Slot>.offset(of: \.status) == 24)
        #expect(MemoryLayout<Slot>.offset(of: \.flags) == 28)
    }

    @Test func aBinaryObjectIsMirrored() throws {
        let page = FencePage(quota: 8)
        let syncobj = Syncobj()
        let slot = try page.allocateSlot(for: syncobj)
        defer { withExtendedLifetime(slot) {} }
        let reader = try makeReader(page)
        func state() throws -> FenceSlotSnapshot { try reader.snapshot(slot: slot.index) }
        #expect(try state().submitted == 0 && state().value == 0 && state().isInUse)
        let empty = try state()
        let fence = makeFence()
        syncobj.replaceFence(fence)
        #expect(try state().submitted == 1 && state().value == 0 && !state().isTimeline)
        #expect(try state().wakeCount != empty.wakeCount)
        fence.signal(error: EIO)
        #expect(try state().value == 1 && state().status == EIO)
        let before = try state()
        syncobj.reset()
        #expect(try state().value == 0 && state().submitted == 0)
        #expect(try state().generation == before.generation + 2)
        syncobj.signal()
        #expect(try state().value == 1 && state().status == 0)
    }

    @Test func aTimelineIsMirrored() throws {
        let page = FencePage(quota: 8)
        let syncobj = Syncobj()
        let fences = (0..<3).map { _ in makeFence() }
        syncobj.addPoint(FenceChain(), fence: fences[0], point: 2)
        let slot = try page.allocateSlot(for: syncobj)
        defer { withExtendedLifetime(slot) {} }
        let reader = try makeReader(page)
        syncobj.addPoint(FenceChain(), fence: fences[1], point: 4)
        syncobj.addPoint(FenceChain(), fence: fences[2], point: 6)
        #expect(try reader.submitted(slot: slot.index) == 6)
        #expect(try reader.snapshot(slot: slot.index).isTimeline)
        fences[1].signal(error: ETIMEDOUT)
        #expect(try reader.value(slot: slot.index) == 0)
        fences[0].signal()
        #expect(try reader.value(slot: slot.index) == 4)
        #expect(try reader.status(slot: slot.index) == ETIMEDOUT)
        fences[2].signal()
        #expect(try reader.value(slot: slot.index) == 6)
        let generation = try reader.snapshot(slot: slot.index).generation
        syncobj.signal(point: 7)
        #expect(try reader.snapshot(slot: slot.index).generation == generation)
        syncobj.addPoint(FenceChain(), fence: makeFence(), point: 3)
        #expect(try reader.value(slot: slot.index) == 0)
        #expect(try reader.submitted(slot: slot.index) == 7)
        #expect(try reader.snapshot(slot: slot.index).generation != generation)
    }

    @Test func everyImporterHasItsOwnMirror() throws {
        let pages = [FencePage(quota: 8), FencePage(quota: 8)]
        let syncobj = Syncobj()
        let slots = try pages.map { try $0.allocateSlot(for: syncobj) }
        defer { withExtendedLifetime(slots) {} }
        let readers = try pages.map { try makeReader($0) }
        syncobj.signal(point: 5)
        for (slot, reader) in zip(slots, readers) {
            #expect(try reader.value(slot: slot.index) == 5)
        }
        slots[0].release()
        syncobj.signal(point: 6)
        #expect(try !readers[0].snapshot(slot: slots[0].index).isInUse)
        #expect(try readers[1].value(slot: slots[1].index) == 6)
    }

    @Test func aTransferredTimelineIsMirroredAsItGoesOn() throws {
        let page = FencePage(quota: 8)
        let source = Syncobj()
        let copy = Syncobj()
        let slot = try page.allocateSlot(for: copy)
        defer { withExtendedLifetime(slot) {} }
        let reader = try makeReader(page)
        let fences = [makeFence(), makeFence()]
        source.addPoint(FenceChain(), fence: fences[0], point: 1)
        source.addPoint(FenceChain(), fence: fences[1], point: 2)
        try Syncobj.transfer(from: source, point: 2, to: copy, point: 0)
        fences[0].signal()
        #expect(try reader.value(slot: slot.index) == 1)
        fences[1].signal()
        #expect(try reader.value(slot: slot.index) == 2)
    }

    @Test func theClientCannotWriteOrResize() throws {
        let page = FencePage(quota: 1)
        let slot = try page.allocateSlot(for: Syncobj())
        defer { withExtendedLifetime(slot) {} }
        let fd = try page.chunkFD(slot.chunk)
        let opened = open("/proc/self/fd/\(fd)", O_RDWR)
        for attempt in [fd, opened] where attempt >= 0 {
            let mapped = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, attempt, 0)
            #expect(mapped == MAP_FAILED && errno == EPERM)
            #expect(ftruncate(attempt, 0) < 0 && errno == EPERM)
            #expect(ftruncate(attempt, 1 << 20) < 0 && errno == EPERM)
            var byte: UInt8 = 1
            #expect(pwrite(attempt, &byte, 1, 0) < 0 && errno == EPERM)
            #expect(gpuvm_add_seals(attempt, GPUVM_SEAL_WRITE) == -EPERM)
            let readable = mmap(nil, 4096, PROT_READ, MAP_SHARED, attempt, 0)
            #expect(readable != MAP_FAILED)
            #expect(mprotect(readable, 4096, PROT_READ | PROT_WRITE) < 0 && errno == EACCES)
            munmap(readable, 4096)
        }
        #expect(opened >= 0)
        close(opened)
    }

    @Test func chunksAreAddedAndTheQuotaHolds() throws {
        let quota = FencePage.slotsPerChunk + 2
        let page = FencePage(quota: quota)
        let syncobj = Syncobj(signalled: true)
        var slots: [FenceSlot] = []
        for _ in 0..<quota { slots.append(try page.allocateSlot(for: syncobj)) }
        #expect(page.chunkCount == 2 && page.usedSlots == quota)
        #expect(slots[quota - 1].chunk == 1 && slots[quota - 1].slotInChunk == 1)
        #expect(throws: FencingError.noSlot(quota: quota)) {
            try page.allocateSlot(for: syncobj)
        }
        let reader = try makeReader(page)
        #expect(try reader.value(slot: slots[quota - 1].index) == 1)
        #expect(throws: FencingError.self) {
            try reader.value(slot: 2 * FencePage.slotsPerChunk)
        }
        #expect(throws: FencingError.self) { try reader.value(slot: -1) }
        slots.removeAll()
        #expect(page.usedSlots == 0)
        #expect(Set(try (0..<5).map { _ in try page.allocateSlot(for: syncobj).index }).count >= 1)
    }

    // MARK: Waits

    @Test(arguments: SyncobjWaitTests.flagSets)
    func everyFlagCombinationPolls(flags: SyncobjWait.Flags) throws {
        let page = FencePage(quota: 100)
        for a in SyncobjWaitTests.State.allCases {
            for b in SyncobjWaitTests.State.allCases {
                for c in SyncobjWaitTests.State.allCases {
                    let states = [a, b, c]
                    let objects = states.map { _ in Syncobj() }
                    let slots = try objects.map { try page.allocateSlot(for: $0) }
                    defer { withExtendedLifetime(slots) {} }
                    for (index, state) in states.enumerated() where state != .empty {
                        let fence: Fence = state == .pending ? makeFence() : .makeSignalled()
                        if index == 0 {
                            objects[index].replaceFence(fence)
                        } else {
                            objects[index].addPoint(
                                FenceChain(), fence: fence, point: UInt64(index))
                        }
                    }
                    let reader = try makeReader(page)
                    let targets = slots.indices.map {
                        Target(slot: slots[$0].index, point: UInt64($0))
                    }
                    let outcome = SyncobjWait.Outcome { () throws(FencingError) in
                        try reader.wait(targets, flags: flags, deadline: 1)
                    }
                    #expect(
                        outcome == SyncobjWaitTests.expected(states, flags),
                        "\(states) \(flags.rawValue)")
                }
            }
        }
    }

    @Test func aSleeperWakes() throws {
        let page = FencePage(quota: 8)
        let objects = (0..<3).map { _ in Syncobj() }
        let slots = try objects.map { try page.allocateSlot(for: $0) }
        defer { withExtendedLifetime(slots) {} }
        let reader = try makeReader(page)
        let targets = slots.map { Target(slot: $0.index, point: 1) }
        for flags in [[.forSubmit], [.forSubmit, .all]] as [SyncobjWait.Flags] {
            let thread = RuntimeThread.start(name: "signaller") {
                for object in objects { object.signal(point: 1) }
            }
            let limit = deadline(inMilliseconds: 20_000)
            _ = try reader.wait(targets, flags: flags, deadline: limit)
            #expect(try reader.wait([targets[0]], flags: flags, deadline: limit) == 0)
            thread?.join()
            for object in objects { object.reset() }
        }
        #expect(throws: FencingError.timeExpired) {
            try reader.wait(
                targets, flags: .forSubmit, deadline: deadline(inMilliseconds: 3))
        }
    }

    @Test func limitsAndErrors() throws {
        let page = FencePage(quota: 200)
        let syncobj = Syncobj()
        let slots = try (0..<129).map { _ in try page.allocateSlot(for: syncobj) }
        defer { withExtendedLifetime(slots) {} }
        let reader = try makeReader(page)
        let targets = slots.map { Target(slot: $0.index) }
        #expect(throws: FencingError.tooManyObjects(count: 129, limit: 128)) {
            try reader.wait(targets, flags: .forSubmit, deadline: 0)
        }
        let thread = RuntimeThread.start(name: "signaller") { syncobj.signal() }
        _ = try reader.wait(
            Array(targets.prefix(128)), flags: [.all, .forSubmit],
            deadline: deadline(inMilliseconds: 20_000))
        thread?.join()
        #expect(throws: FencingError.self) { try reader.wait([], deadline: 0) }
        #expect(throws: FencingError.self) {
            try reader.wait([targets[0]], flags: .init(rawValue: 16), deadline: 0)
        }
        slots[0].release()
        #expect(throws: FencingError.invalidArgument("the slot is not in use")) {
            try reader.wait([targets[0]], deadline: 0)
        }
        syncobj.reset()
        #expect(throws: FencingError.deviceLost) {
            try reader.wait([targets[1]], flags: .forSubmit, isAlive: { false })
        }
    }

    @Test(arguments: [false, true])
    func aFenceReplacedAfterItSignalledStillCounts(replacesTwice: Bool) throws {
        let page = FencePage(quota: 1)
        let syncobj = Syncobj()
        let fence = makeFence()
        syncobj.replaceFence(fence)
        let slot = try page.allocateSlot(for: syncobj)
        defer { withExtendedLifetime(slot) {} }
        let reader = try makeReader(page)
        let looks = Guarded(.leaf, 0)
        // The waiter has looked and found `fence`; before it sleeps, that signals and is replaced.
        let index = try reader.wait(
            [Target(slot: slot.index)], deadline: deadline(inMilliseconds: 20_000),
            isAlive: {
                let look = looks.withLock { count -> Int in
                    count += 1
                    return count
                }
                guard look == 1 else { return false }
                fence.signal()
                if replacesTwice { syncobj.signal() }
                syncobj.replaceFence(makeFence())
                return true
            })
        #expect(index == 0)
    }

    @Test func aPendingFenceThatIsReplacedIsNotTakenForSignalled() throws {
        let page = FencePage(quota: 1)
        let syncobj = Syncobj()
        syncobj.replaceFence(makeFence())
        let slot = try page.allocateSlot(for: syncobj)
        defer { withExtendedLifetime(slot) {} }
        let reader = try makeReader(page)
        let looks = Guarded(.leaf, 0)
        #expect(throws: FencingError.deviceLost) {
            try reader.wait(
                [Target(slot: slot.index)],
                isAlive: {
                    let look = looks.withLock { count -> Int in
                        count += 1
                        return count
                    }
                    syncobj.replaceFence(makeFence())
                    return look < 3
                })
        }
    }
}
