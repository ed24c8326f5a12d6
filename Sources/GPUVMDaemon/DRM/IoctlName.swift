import Device

/// What the kernel's headers call an ioctl, without their prefixes.
///
/// Source: include/uapi/drm/drm.h, drm_mode.h, nouveau_drm.h; linux/dma-buf.h, sync_file.h.
enum IoctlName {
    /// `_IOC_TYPE << 8 | _IOC_NR`: clients disagree on size and direction of one call.
    static func key(_ request: IoctlRequest) -> UInt16 {
        UInt16(request.type) << 8 | UInt16(request.number)
    }

    static func of(_ request: IoctlRequest) -> String { name(key(request)) }

    /// The name, or the key in hexadecimal.
    static func name(_ key: UInt16) -> String {
        known[key] ?? "0x" + String(key, radix: 16)
    }

    private static let known: [UInt16: String] = {
        var names: [UInt16: String] = [
            0x6200: "DMA_BUF_SYNC", 0x6201: "DMA_BUF_SET_NAME",
            0x6202: "DMA_BUF_EXPORT_SYNC_FILE", 0x6203: "DMA_BUF_IMPORT_SYNC_FILE",
            0x3e03: "SYNC_IOC_MERGE", 0x3e04: "SYNC_IOC_FILE_INFO",
            0x3e05: "SYNC_IOC_SET_DEADLINE",
        ]
        for (number, name) in core + nouveau { names[0x6400 | number] = name }
        return names
    }()

    private static let core: [(UInt16, String)] = [
        (0x00, "VERSION"), (0x01, "GET_UNIQUE"), (0x02, "GET_MAGIC"), (0x05, "GET_CLIENT"),
        (0x06, "GET_STATS"), (0x07, "SET_VERSION"), (0x09, "GEM_CLOSE"), (0x0a, "GEM_FLINK"),
        (0x0b, "GEM_OPEN"), (0x0c, "GET_CAP"), (0x0d, "SET_CLIENT_CAP"), (0x10, "SET_UNIQUE"),
        (0x11, "AUTH_MAGIC"), (0x1e, "SET_MASTER"), (0x1f, "DROP_MASTER"),
        (0x2d, "PRIME_HANDLE_TO_FD"), (0x2e, "PRIME_FD_TO_HANDLE"), (0x3a, "WAIT_VBLANK"),
        (0xa0, "MODE_GETRESOURCES"), (0xa1, "MODE_GETCRTC"), (0xa7, "MODE_GETCONNECTOR"),
        (0xb2, "MODE_CREATE_DUMB"), (0xb3, "MODE_MAP_DUMB"), (0xb4, "MODE_DESTROY_DUMB"),
        (0xb5, "MODE_GETPLANERESOURCES"), (0xbf, "SYNCOBJ_CREATE"), (0xc0, "SYNCOBJ_DESTROY"),
        (0xc1, "SYNCOBJ_HANDLE_TO_FD"), (0xc2, "SYNCOBJ_FD_TO_HANDLE"), (0xc3, "SYNCOBJ_WAIT"),
        (0xc4, "SYNCOBJ_RESET"), (0xc5, "SYNCOBJ_SIGNAL"), (0xca, "SYNCOBJ_TIMELINE_WAIT"),
        (0xcb, "SYNCOBJ_QUERY"), (0xcc, "SYNCOBJ_TRANSFER"),
        (0xcd, "SYNCOBJ_TIMELINE_SIGNAL"), (0xcf, "SYNCOBJ_EVENTFD"),
    ]

    private static let nouveau: [(UInt16, String)] = [
        (0x40, "GETPARAM"), (0x41, "SETPARAM"), (0x42, "CHANNEL_ALLOC"),
        (0x43, "CHANNEL_FREE"), (0x44, "GROBJ_ALLOC"), (0x45, "NOTIFIEROBJ_ALLOC"),
        (0x46, "GPUOBJ_FREE"), (0x47, "NVIF"), (0x48, "SVM_INIT"), (0x49, "SVM_BIND"),
        (0x50, "VM_INIT"), (0x51, "VM_BIND"), (0x52, "EXEC"), (0x53, "GET_ZCULL_INFO"),
        (0x80, "GEM_NEW"), (0x81, "GEM_PUSHBUF"), (0x82, "GEM_CPU_PREP"),
        (0x83, "GEM_CPU_FINI"), (0x84, "GEM_INFO"),
    ]
}
