import Fencing
import GPUVMCore
import Glibc
import Memory
import PageTables

// VM_INIT and VM_BIND. Source: drivers/gpu/drm/nouveau/nouveau_uvmm.c, nouveau_sched.c.
extension NouveauFile {
    /// NOUVEAU_VA_SPACE_END.
    static var spaceEnd: UInt64 { 1 << 40 }

    /// The file's VM.
    ///
    /// - Throws: ENOSYS before VM_INIT.
    func requireVM() throws(IoctlError) -> DeviceVM {
        guard case .ready(_, let vm) = state.withLock({ $0.vm }) else {
            throw IoctlError(ENOSYS, "the file has no VM: VM_INIT comes first")
        }
        return vm
    }

    /// VM_INIT: {kernel_managed_addr u64@0, kernel_managed_size u64@8}.
    func vmInit(_ frame: IoctlFrame) throws(IoctlError) {
        let reserved: UInt64 = frame.read(0)
        let bytes: UInt64 = frame.read(8)
        let (end, overflow) = reserved.addingReportingOverflow(bytes)
        guard !overflow, end <= Self.spaceEnd else {
            throw .invalid("the kernel's part of the space ends beyond 2^40")
        }
        try state.withLock { state throws(IoctlError) in
            switch state.vm {
            case .absent: state.vm = .starting
            case .disabled:
                throw IoctlError(ENOSYS, "buffers or channels were made before VM_INIT")
            case .starting, .ready: throw IoctlError(EBUSY, "the file has a VM")
            }
        }
        do throws(IoctlError) {
            try meetShortage(at: .vmCreate)
            let made = try makeVM(reserved: reserved, bytes: bytes)
            state.withLock { $0.vm = .ready(handle: made.handle, made.vm) }
        } catch {
            state.withLock { $0.vm = .absent }
            throw error
        }
    }

    /// Makes a VM whose part at `reserved`, of `bytes` bytes, is the driver's.
    func makeVM(
        reserved: UInt64, bytes: UInt64
    ) throws(IoctlError) -> (handle: UInt32, vm: DeviceVM) {
        try answering { () throws(DeviceError) in
            try client.makeVM(
                name: "nouveau", start: 0, range: Self.spaceEnd, reservedStart: reserved,
                reservedRange: bytes, format: .gp100)
        }
    }

    /// VM_BIND: {op_count@0, flags@4, wait_count@8, sig_count@12, wait_ptr@16, sig_ptr@24,
    /// op_ptr@32}.
    func vmBind(_ frame: IoctlFrame) throws(IoctlError) -> IoctlStep {
        let vm = try requireVM()
        let count: UInt32 = frame.read(0)
        let isAsynchronous = frame.read(4, as: UInt32.self) & 1 != 0
        let waits: UInt32 = frame.read(8)
        let signals: UInt32 = frame.read(12)
        let array = try frame.call.array(at: 32, count: count, stride: Self.bindOpBytes)
        guard isAsynchronous || (waits | signals) == 0 else {
            throw .invalid("a synchronous bind takes no sync objects")
        }
        let inFences = try inFences(frame.call, at: 16, count: waits)
        let outPoints = try outPoints(frame.call, at: 24, count: signals)
        var request = BindArray(capacity: Int(count))
        var known = NamedBuffers()
        for index in 0..<Int(count) {
            do throws(IoctlError) {
                try append(to: &request, array, index, in: vm, &known)
            } catch {
                noteRefusal(error, array, index, of: Int(count), in: vm)
                throw error
            }
        }
        let bind: AcceptedBind
        do throws(DeviceError) {
            bind = try client.meetBindRules(in: vm, queue: 0, inFences) {
                inFences throws(DeviceError) in
                try client.accept(request, in: vm, inFences: inFences, outPoints: outPoints)
            }
        } catch {
            throw lost(error)
        }
        shared.statistics.note(request.steps)
        if isAsynchronous { return .submitted(bind) }
        bind.start()
        return .fence(bind.fence)
    }

    static let bindOpBytes = 40

    /// One element: {op@0, flags@4, handle@8, addr u64@16, bo_offset u64@24, range u64@32}.
    ///
    /// - Throws: ENOENT for the handle; EINVAL for what bind_validate_op refuses, for an unknown
    ///   operation, and for an empty range and a PTE kind that the chip has not, which nouveau finds
    ///   too late to say so.
    private func append(
        to request: inout BindArray, _ array: IoctlBytes, _ index: Int, in vm: DeviceVM,
        _ known: inout NamedBuffers
    ) throws(IoctlError) {
        let base = index * Self.bindOpBytes
        let number: UInt32 = array.read(base)
        let flags: UInt32 = array.read(base + 4)
        let address: UInt64 = array.read(base + 16)
        let range: UInt64 = array.read(base + 32)
        let isSparse = flags & 0x100 != 0
        switch number {
        case 0 where !isSparse:
            let buffer = try known.buffer(of: array.read(base + 8), in: &request) {
                (handle) throws(IoctlError) in try gem(handle)
            }
            let offset: UInt64 = array.read(base + 24)
            let pteKind = Self.pteKind(flags)
            guard offset % frameSize == 0, offset < buffer.size, range <= buffer.size - offset
            else { throw .invalid(Self.outOfBuffer(range, offset, bytes: buffer.size)) }
            guard shared.model.isValid(kind: pteKind) else {
                throw .invalid("the GPU has no PTE kind \(pteKind)")
            }
            request.append(
                BindStep(
                    .map, address: address, range: range, buffer: buffer, offset: offset,
                    pteKind: pteKind))
        case 0: request.append(BindStep(.createSparse, address: address, range: range))
        case 1:
            request.append(
                BindStep(isSparse ? .removeSparse : .unmap, address: address, range: range))
        default: throw .invalid("the operation is of the unknown kind \(number)")
        }
        guard range != 0, (address | range) % frameSize == 0,
            vm.space.isValid(address: address, range: range)
        else {
            throw .invalid(
                """
                the range is empty, misaligned, out of the space or in the kernel's part
                """)
        }
    }

    /// The low byte of a map's flags.
    private static func pteKind(_ flags: UInt32) -> UInt8 {
        #if MUTANTS
            if Mutant.isPlanted("pteKindDropped") { return 0 }
        #endif
        return UInt8(truncatingIfNeeded: flags)
    }

    /// Answers ENOMEM if a rule of fault injection wants that.
    func meetShortage(at operation: InjectionOperations) throws(IoctlError) {
        var vm: UInt32 = 0
        if InjectionOperations.ofVM.contains(operation) { vm = (try? requireVM())?.id ?? 0 }
        try answering { () throws(DeviceError) in
            try client.meetShortage(at: operation, vm: vm)
        }
    }

    /// What a client hears of a queue or VM that will never work again.
    func lost(_ error: DeviceError) -> IoctlError {
        switch error {
        case .queueBanned, .vmUnusable: IoctlError(ENODEV, error.description)
        default: IoctlError(error)
        }
    }
}
