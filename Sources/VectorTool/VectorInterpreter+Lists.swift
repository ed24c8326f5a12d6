import Fencing
import GPUVMCore
import Glibc

extension VectorInterpreter {
    func lists(
        _ name: String, _ vm: GPUVM, _ arguments: inout CommandArguments
    ) throws -> String {
        switch name {
        case "bo": return try declare(&arguments, vm)
        case "evict":
            guard let object = try object(&arguments, vm) else { throw Malformed() }
            let isEvicted = try arguments.bool()
            try arguments.end()
            let context = object.reservation.lock()
            object.setEvicted(isEvicted)
            object.reservation.unlock(context)
            return "{\"ok\":true}"
        case "validate": return try validate(&arguments, vm)
        case "lists":
            try arguments.end()
            let external = Self.list(vm.externalObjects.map(Self.id))
            let evicted = Self.list(vm.evictedObjects.map(Self.id))
            return "{\"extobj\":\(external),\"evict\":\(evicted)}"
        case "exec_lock": return try lockVM(&arguments, vm)
        case "exec_range": return try lockRange(&arguments, vm)
        case "exec_map", "exec_unmap": return try lockRequest(name, &arguments, vm)
        case "refs":
            try arguments.end()
            let counts = objects.values.sorted { $0.id < $1.id }.map { object in
                let pair = vm.vmBO(of: object)
                return Self.list([
                    object.id, object.hardReferenceCount, pair?.referenceCount ?? 0,
                    pair?.linkedCount ?? 0,
                ])
            }
            return "{\"vm\":\(vm.referenceCount),\"bos\":[\(counts.joined(separator: ","))]}"
        default:
            try arguments.end()
            vm.cleanUpDeferred()
            return "{\"ok\":true}"
        }
    }

    private func declare(
        _ arguments: inout CommandArguments, _ vm: GPUVM
    ) throws -> String {
        let id = try arguments.decimal(maximum: Self.maximumObject)
        let kind = try arguments.word()
        try arguments.end()
        guard id != 0, kind == "ext" || kind == "priv" else { throw Malformed() }
        if let known = objects[id], known.hardReferenceCount > 1 {
            // Its reservation is in use.
            return Self.text(errno: EBUSY)
        }
        objects[id] = VectorObject(
            id: id, reservation: kind == "ext" ? Reservation() : vm.reservation)
        return "{\"ok\":true}"
    }

    private func validate(
        _ arguments: inout CommandArguments, _ vm: GPUVM
    ) throws -> String {
        let failing =
            arguments.isEmpty ? 0 : try arguments.decimal(maximum: Self.maximumObject)
        try arguments.end()
        var exec = ExecLocking(ignoresDuplicates: true)
        // Object by object: the pass over the VM's external objects would change its evict list.
        try exec.prepareVM(vm, slots: 1)
        try exec.prepare(vm.externalObjects, slots: 1)
        var validated: [Int] = []
        do throws(GPUVMError) {
            try vm.validate { object throws(GPUVMError) in
                if Self.id(object) == failing { throw .validationFailed(errno: ENOMEM) }
                object.setEvicted(false)
                validated.append(Self.id(object))
            }
            return "{\"validated\":\(Self.list(validated))}"
        } catch {
            return "{\"validated\":\(Self.list(validated)),"
                + Self.text(errno: error.errno).dropFirst()
        }
    }

    // MARK: - Exec locking

    private func lockVM(_ arguments: inout CommandArguments, _ vm: GPUVM) throws -> String {
        let slots = try arguments.decimal(maximum: Self.maximumSlots)
        let ignoresDuplicates = try arguments.bool()
        var extras: [GPUVMObject] = []
        while !arguments.isEmpty {
            guard let object = try object(&arguments, vm) else { throw Malformed() }
            extras.append(object)
        }
        var exec = ExecLocking(ignoresDuplicates: ignoresDuplicates)
        try exec.lockVM(vm, extras: extras, slots: slots)
        let fence = makeFence()
        if slots == 0 {
            for object in exec.lockedObjects { try object.reservation.reserve(1) }
        }
        exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        let usages = exec.lockedObjects.map { object in
            object.reservation.usage(of: fence).map { Int($0.rawValue) } ?? -1
        }
        let locked = exec.lockedObjects.map(Self.id)
        exec.unlockAll()
        fence.signal()
        return "{\"locked\":\(Self.list(locked)),\"usage\":\(Self.list(usages))}"
    }

    private func lockRange(_ arguments: inout CommandArguments, _ vm: GPUVM) throws -> String {
        let address = try arguments.hex()
        let range = try arguments.hex()
        let slots = try arguments.decimal(maximum: Self.maximumSlots)
        var exec = ExecLocking(ignoresDuplicates: try arguments.bool())
        try arguments.end()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareRange(of: vm, address: address, range: range, slots: slots)
        }
        return "{\"locked\":\(Self.list(exec.lockedObjects.map(Self.id)))}"
    }

    private func lockRequest(
        _ name: String, _ arguments: inout CommandArguments, _ vm: GPUVM
    ) throws -> String {
        var request = MapRequest(
            address: try arguments.hex(), range: try arguments.hex(), object: nil, offset: 0)
        var slots = 0
        if name == "exec_map" {
            request.object = try object(&arguments, vm)
            request.offset = try arguments.hex()
            slots = try arguments.decimal(maximum: Self.maximumSlots)
        }
        try arguments.end()
        var locked: [Int] = []
        var failure: GPUVMError?
        var exec = ExecLocking(ignoresDuplicates: true)
        var ops = OpList()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            failure = nil
            do throws(GPUVMError) {
                if name == "exec_map" {
                    try exec.prepareMap(request, in: vm, slots: slots, planningInto: &ops)
                } else {
                    try exec.prepareUnmap(
                        address: request.address, range: request.range, in: vm, planningInto: &ops)
                }
            } catch {
                if error == .contended { throw error }
                failure = error
            }
            // What is held after a failure belongs to the result.
            locked = exec.lockedObjects.map(Self.id)
        }
        let result = "{\"locked\":\(Self.list(locked))"
        guard let failure else { return result + "}" }
        return result + "," + Self.text(errno: failure.errno).dropFirst()
    }
}
