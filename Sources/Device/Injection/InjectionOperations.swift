/// The requests at which rules are asked; the bits are the wire's.
public struct InjectionOperations: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt32
    /// Makes a set from its bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A buffer is made.
    public static let bufferCreate = InjectionOperations(rawValue: 1 << 0)
    /// A buffer is imported.
    public static let bufferImport = InjectionOperations(rawValue: 1 << 1)
    /// A VM is made.
    public static let vmCreate = InjectionOperations(rawValue: 1 << 2)
    /// A bind is submitted.
    public static let bind = InjectionOperations(rawValue: 1 << 3)
    /// An exec or bind queue is made.
    public static let queueCreate = InjectionOperations(rawValue: 1 << 4)
    /// A job is submitted to an exec queue.
    public static let exec = InjectionOperations(rawValue: 1 << 5)
    /// A sync object is made.
    public static let syncobjCreate = InjectionOperations(rawValue: 1 << 6)
    /// A buffer of an open DRM file is mapped.
    public static let map = InjectionOperations(rawValue: 1 << 7)

    /// Every one.
    public static let all = InjectionOperations(rawValue: (1 << 8) - 1)
    /// Those that concern a VM.
    public static let ofVM: InjectionOperations = [.bind, .queueCreate, .exec]
    /// Those that concern a queue.
    public static let ofQueue: InjectionOperations = [.bind, .exec]

    /// The names of nouveau's calls, which a native client's requests go by too.
    public static let names: [(operation: InjectionOperations, name: String)] = [
        (.bufferCreate, "gem-new"), (.bufferImport, "gem-import"), (.vmCreate, "vm-init"),
        (.bind, "vm-bind"), (.queueCreate, "channel-alloc"), (.exec, "exec"),
        (.syncobjCreate, "syncobj-create"), (.map, "mmap"),
    ]
}

extension InjectionOperations: CustomStringConvertible {
    /// The names, joined by "+".
    public var description: String {
        Self.names.filter { contains($0.operation) }.map(\.name).joined(separator: "+")
    }
}
