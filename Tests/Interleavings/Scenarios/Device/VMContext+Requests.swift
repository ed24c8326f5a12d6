import Device
import Glibc
import Memory
import TestSupport

// The requests, each with what it does to the model.
extension VMContext {
    // MARK: - Buffers

    /// A buffer of a few pages, mapped at once.
    func createAndMap() {
        let frames = buffers.reduce(0) { $0 + ($1.isVRAM ? $1.pages : 0) }
        let size = 1 + random.below(3)
        let isVRAM = !random.chance(4) && frames + size <= world.framesPerContext
        let needsCPUAccess = !random.chance(3) && size <= world.visibleFrames
        let isLocal = random.chance(2)
        let made = attempt("create a buffer", mayLackMemory: isLocal) { () throws(DeviceError) in
            try client.createBuffer(
                name: "b\(number)", size: UInt64(size) * Self.pageBytes,
                placement: isVRAM ? .vram : .system, localTo: isLocal ? vm : nil,
                needsCPUAccess: needsCPUAccess)
        }
        guard let made else { return }
        let buffer = BufferModel(
            made.buffer.backing, handle: made.handle, isVRAM: isVRAM,
            needsCPUAccess: needsCPUAccess, owns: { _ in true })
        buffer.isLocal = isLocal
        buffers.append(buffer)
        map(buffer)
    }

    func importShared(_ memory: SharedMemory) {
        let made = attempt("import a buffer") { () throws(DeviceError) in
            try client.importBuffer(
                name: "shared", descriptor: dup(memory.descriptor), size: memory.bytes)
        }
        guard let made else { return }
        run.require(made.buffer.backing === memory, "an import made another buffer")
        let number = self.number
        let known = world.sharedModels[number, default: [:]][memory.identity]
        let buffer =
            known
            ?? BufferModel(
                memory, handle: made.handle, isVRAM: true, needsCPUAccess: true,
                owns: { $0 == number })
        buffer.handle = made.handle
        world.sharedModels[number, default: [:]][memory.identity] = buffer
        buffers.append(buffer)
    }

    func closeBuffer() {
        guard
            let index = buffers.indices.filter({ !buffers[$0].isShared(in: world) })
                .randomElement(using: &random), let handle = buffers[index].handle
        else { return }
        let buffer = buffers[index]
        // Bytes can be compared as long as somebody keeps the memory, which the model does.
        do throws(DeviceError) {
            try client.closeBuffer(handle)
        } catch {
            run.fail("close a buffer: \(error)")
        }
        buffer.handle = nil
        if flags.contains(.weakReferences) { forget(buffer) }
        buffers.remove(at: index)
        // Jobs that are under way may keep it.
        closed.append(buffer)
        run.count("buffers closed")
    }

    // MARK: - Binds

    func map(_ buffer: BufferModel) {
        guard let handle = buffer.handle else { return }
        // Most often the whole, which stays within the space.
        let first = random.chance(3) ? random.below(buffer.pages) : 0
        let count = random.chance(3) ? 1 + random.below(buffer.pages - first) : buffer.pages - first
        let at = random.below(Self.pageCount - count)
        let isReadOnly = random.chance(8)
        guard let object = try? client.buffer(handle) else { run.fail("a handle is gone") }
        let operation = BindOperation(
            .map, address: address(at), range: UInt64(count) * Self.pageBytes, buffer: object,
            offset: UInt64(first) * Self.pageBytes, readOnly: isReadOnly)
        bind([operation]) {
            for page in 0..<count {
                pages[at + page] = .buffer(buffer, page: first + page, isReadOnly: isReadOnly)
            }
        }
    }

    func mapNull() {
        let range = randomRange(8)
        bind([
            BindOperation(
                .mapNull, address: address(range.lowerBound),
                range: UInt64(range.count) * Self.pageBytes)
        ]) {
            for page in range { pages[page] = .null }
        }
    }

    /// One or two ranges in one request.
    func unmapRange() {
        let ranges = (0...random.below(2)).map { _ in randomRange(16) }
        let operations = ranges.map {
            BindOperation(
                .unmap, address: address($0.lowerBound), range: UInt64($0.count) * Self.pageBytes)
        }
        bind(operations) { for range in ranges { for page in range { pages[page] = nil } } }
    }

    func unmapAll() {
        guard let buffer = buffers.randomElement(using: &random), let handle = buffer.handle,
            isMapped(buffer), let object = try? client.buffer(handle)
        else { return }
        bind([BindOperation(.unmapAll, buffer: object)]) { forget(buffer) }
    }

    /// A request that is wrong, alone or behind one that is right: nothing of it happens.
    func bindWrongly() {
        guard let buffer = buffers.randomElement(using: &random), let handle = buffer.handle,
            let object = try? client.buffer(handle)
        else { return }
        let right = BindOperation(.unmap, address: address(0), range: Self.pageBytes)
        let page = Self.pageBytes
        let wrong: BindOperation =
            switch random.below(7) {
            case 0: BindOperation(.unmapAll, address: page, buffer: object)
            case 1: BindOperation(.unmap, address: page)
            case 2: BindOperation(.map, address: page, range: 5, buffer: object)
            case 3: BindOperation(.unmap, address: 0 &- page, range: 2 * page)
            case 4:
                BindOperation(
                    .map, address: page, range: UInt64(buffer.pages) * page, buffer: object,
                    offset: page)
            case 5: BindOperation(.map, address: 1 << 40, range: page, buffer: object)
            default: BindOperation(.unmap, address: 1 << 41, range: page)
            }
        do throws(DeviceError) {
            _ = try client.bind(vm: vm, operations: random.chance(2) ? [wrong] : [right, wrong])
            run.fail("a wrong request was carried out: \(wrong)")
        } catch {
            let others = [ENODEV, ENOENT, ECANCELED, ENOSPC, ENOMEM, DeviceWorld.injectedErrno]
            let mayBe = world.isStopped || world.isStarved || world.injects || isDead
            run.require(
                error.errno == EINVAL || (mayBe && others.contains(error.errno)),
                "a wrong request: \(error)")
        }
        run.count("refused")
    }

    /// A prefetch of whatever is mapped, or of what its own array maps, unmaps and maps again.
    func prefetch() {
        let range = randomRange(Self.pageCount)
        let prefetch = BindOperation(
            .prefetch, address: address(range.lowerBound),
            range: UInt64(range.count) * Self.pageBytes)
        guard random.chance(2), let buffer = buffers.randomElement(using: &random),
            let handle = buffer.handle, let object = try? client.buffer(handle)
        else { return bind([prefetch], mayLackMemory: !fits) {} }
        let at = random.below(Self.pageCount - buffer.pages)
        let map = BindOperation(
            .map, address: address(at), range: UInt64(buffer.pages) * Self.pageBytes,
            buffer: object)
        let unmapsFirst = random.chance(2)
        let unmap = BindOperation(.unmapAll, buffer: object)
        bind((unmapsFirst ? [unmap] : []) + [map, prefetch], mayLackMemory: true) {
            if unmapsFirst { forget(buffer) }
            for page in 0..<buffer.pages {
                pages[at + page] = .buffer(buffer, page: page, isReadOnly: false)
            }
        }
    }

    func bind(
        _ operations: [BindOperation], mayLackMemory: Bool = false, _ apply: () -> Void
    ) {
        let (waits, signals) = chain(isBind: true)
        // In immediate mode they are known only when the job executes: EINVAL.
        let records = !flags.contains(.immediateMode) && random.chance(4)
        let result = attempt("bind", mayLackMemory: mayLackMemory) { () throws(DeviceError) in
            try client.bind(
                vm: vm, queue: random.chance(2) ? bindQueue : 0, operations: operations,
                waits: waits, signals: signals,
                recordsOperations: records)
        }
        guard let result else { return }
        lastPoint += 1
        pending.append(Pending(fence: result.fence, isExec: false))
        apply()
        run.count("binds")
    }

    // MARK: - Help

    /// Runs a request and accepts the failures that may be.
    func attempt<Result>(
        _ what: String, mayLackMemory: Bool = false,
        _ body: () throws(DeviceError) -> Result
    ) -> Result? {
        do throws(DeviceError) {
            return try body()
        } catch {
            if error.errno == DeviceWorld.injectedErrno, world.injects { return nil }
            if error.errno == ENOSPC || error.errno == ENOMEM, mayLackMemory || world.isStarved {
                run.count("out of memory")
                return nil
            }
            if world.isStopped, [EINVAL, ENODEV, ENOENT, ECANCELED].contains(error.errno) {
                return nil
            }
            // A bind job of this VM failed on purpose, or its jobs were cancelled.
            if error.errno == ENOENT || error.errno == ECANCELED, isDead || isBanned {
                isDead = true
                return nil
            }
            let there = world.device.bufferReports().map {
                "\($0.name)/\($0.size / Self.pageBytes)\($0.isEvicted ? "e" : "")"
            }
            run.fail(
                """
                context \(number) of \(flags): \(what): \(error) (errno \(error.errno)); \
                \(world.vramFrames) frames, \(world.visibleFrames) visible; \(there)
                """)
        }
    }

    /// Whether a bind job of the VM failed on purpose.
    var isBanned: Bool {
        guard world.injects, let object = try? client.vm(vm) else { return false }
        if case .banned = object.currentCondition { return true }
        return false
    }

    /// Whether all that a submission of the VM locks can be in VRAM together.
    var fits: Bool {
        // In immediate mode what is not executed yet still counts. The VM's own buffers are locked
        // with it, so that none of them can leave.
        let isLenient = flags.contains(.immediateMode) && !pending.isEmpty
        let frames = (buffers + closed).reduce(0) {
            $0 + ($1.isVRAM && (isLenient || $1.isLocal || isMapped($1)) ? $1.pages : 0)
        }
        // What could be beyond the CPU's reach may have got frames within it.
        let hiddenFrames = world.vramFrames - world.visibleFrames
        return frames
            <= (hiddenFrames == 0 ? world.vramFrames : min(hiddenFrames, world.visibleFrames))
    }

    func isMapped(_ buffer: BufferModel) -> Bool {
        pages.contains { if case .buffer(buffer, _, _) = $0 { true } else { false } }
    }

    func forget(_ buffer: BufferModel) {
        for index in pages.indices {
            if case .buffer(buffer, _, _) = pages[index] { pages[index] = nil }
        }
    }

    func randomRange(_ longest: Int) -> Range<Int> {
        let first = random.below(Self.pageCount)
        return first..<(first + 1 + random.below(min(longest, Self.pageCount - first)))
    }

    func address(_ page: Int) -> UInt64 { Self.base + UInt64(page) * Self.pageBytes }
}

/// Identity, for patterns.
func ~= (pattern: BufferModel, value: BufferModel) -> Bool { pattern === value }
