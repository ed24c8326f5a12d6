import Glibc
import PageTables

/// A copy between surfaces under way, if at least one is block-linear or elements are made anew:
/// everything that has to outlive a quantum.
///
/// It goes line by line in steps whose size depends on the copy only, so that the result does not
/// depend on where quanta end.
struct SurfaceCopy {
    /// Elements that one step makes.
    private static let elementsInStep: UInt64 = 16

    private let source: Surface
    private let destination: Surface
    /// Nil for bytes.
    private let remap: ComponentRemap?
    /// Bytes, or elements, of a line.
    private let lineLength: UInt64
    private let lines: UInt64
    private var line: UInt64 = 0
    private var position: UInt64 = 0

    init(
        from source: Surface, to destination: Surface, lineLength: UInt64, lines: UInt64,
        remap: ComponentRemap?
    ) {
        self.source = source
        self.destination = destination
        self.remap = remap
        self.lineLength = lineLength
        self.lines = lineLength == 0 ? 0 : lines
    }

    /// Nothing to do.
    init() {
        let nowhere = Surface(address: 0)
        self.init(from: nowhere, to: nowhere, lineLength: 0, lines: 0, remap: nil)
    }

    var isActive: Bool { line < lines }

    /// Moves the next bytes of a line and returns how many of them the destination got.
    mutating func step(
        _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Transfer.Stop) -> UInt64 {
        let moved: UInt64
        if let remap {
            moved = try remapElements(remap, access, space)
        } else {
            moved = try copyBytes(access, space)
        }
        if position == lineLength {
            position = 0
            line &+= 1
        }
        return moved
    }

    /// Copies at most to the end of the GOB's line.
    private mutating func copyBytes(
        _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Transfer.Stop) -> UInt64 {
        let tiled = destination.layout == nil ? source.originX : destination.originX
        let end = min(lineLength, position &+ 64 &- ((tiled &+ position) & 63))
        let first = position
        while position < end {
            var bytes = source.contiguous(x: position, limit: end &- position)
            bytes = destination.contiguous(x: position, limit: bytes)
            bytes = try move(bytes, access, space)
            position &+= bytes
        }
        return end &- first
    }

    private func move(
        _ limit: UInt64, _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Transfer.Stop) -> UInt64 {
        var bytes = limit
        var data: UnsafeMutableRawPointer?
        switch access.translate(
            space: space, address: source.address(x: position, y: line), length: bytes,
            intent: .read)
        {
        case .memory(let pointer, let length): (data, bytes) = (pointer, length)
        case .null(let length): bytes = length
        case .fault(let fault): throw .source(fault)
        }
        switch access.translate(
            space: space, address: destination.address(x: position, y: line), length: bytes,
            intent: .write)
        {
        case .memory(let pointer, let length):
            bytes = length
            // memmove: two addresses may lead to one memory.
            if let data {
                memmove(pointer, data, Int(length))
            } else {
                memset(pointer, 0, Int(length))
            }
        case .null(let length): bytes = length
        case .fault(let fault): throw .destination(fault)
        }
        return bytes
    }

    // MARK: elements

    private mutating func remapElements(
        _ remap: ComponentRemap, _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Transfer.Stop) -> UInt64 {
        let end = min(lineLength, position &+ Self.elementsInStep)
        let first = position
        let readsSource = remap.readsSource
        while position < end {
            var element: UInt128 = 0
            if readsSource {
                element = try read(UInt64(remap.sourceBytes), access, space)
            }
            try write(remap.make(from: element), remap, access, space)
            position &+= 1
        }
        return (end &- first) &* UInt64(remap.destinationBytes)
    }

    private func read(
        _ bytes: UInt64, _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Transfer.Stop) -> UInt128 {
        var element: UInt128 = 0
        var done: UInt64 = 0
        while done < bytes {
            let x = position &* bytes &+ done
            let limit = source.contiguous(x: x, limit: bytes &- done)
            switch access.translate(
                space: space, address: source.address(x: x, y: line), length: limit, intent: .read)
            {
            case .memory(let pointer, let length):
                var part: UInt128 = 0
                memcpy(&part, pointer, Int(length))
                element |= UInt128(littleEndian: part) &<< UInt128(8 &* done)
                done &+= length
            case .null(let length): done &+= length
            case .fault(let fault): throw .source(fault)
            }
        }
        return element
    }

    /// Writes the components that are to be written, neighbours together.
    private func write(
        _ element: UInt128, _ remap: ComponentRemap, _ access: borrowing MMUAccess,
        _ space: AddressSpace
    ) throws(Transfer.Stop) {
        var component = 0
        while component < remap.destinationComponents {
            if !remap.writes(component) {
                component &+= 1
                continue
            }
            let first = component
            while component < remap.destinationComponents && remap.writes(component) {
                component &+= 1
            }
            try write(
                element, UInt64(first &* remap.componentBytes),
                UInt64(component &* remap.componentBytes), UInt64(remap.destinationBytes), access,
                space)
        }
    }

    /// Writes bytes `first..<end` of an element of `size` bytes.
    private func write(
        _ element: UInt128, _ first: UInt64, _ end: UInt64, _ size: UInt64,
        _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Transfer.Stop) {
        var done = first
        while done < end {
            let x = position &* size &+ done
            let limit = destination.contiguous(x: x, limit: end &- done)
            switch access.translate(
                space: space, address: destination.address(x: x, y: line), length: limit,
                intent: .write)
            {
            case .memory(let pointer, let length):
                var part = (element &>> UInt128(8 &* done)).littleEndian
                memcpy(pointer, &part, Int(length))
                done &+= length
            case .null(let length): done &+= length
            case .fault(let fault): throw .destination(fault)
            }
        }
    }
}
