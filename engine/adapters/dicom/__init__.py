"""DICOM on the wire: pydicom and pynetdicom, imported only where a site has a worklist."""
