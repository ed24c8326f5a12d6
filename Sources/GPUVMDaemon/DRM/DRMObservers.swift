/// Who watches what open files of the DRM shim do.
public struct DRMObservers: Sendable {
    /// Keeps what happens, in order.
    public var trace: DRMTrace?
    /// Keeps what address spaces looked like.
    public var pictures: AddressSpacePictures?

    /// Nobody, unless named.
    public init(trace: DRMTrace? = nil, pictures: AddressSpacePictures? = nil) {
        self.trace = trace
        self.pictures = pictures
    }
}
