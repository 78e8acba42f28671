"""Admission: is this request one that we take? All violations at once, nothing stored if there is one."""

from hotfire_service.admission.admit import Admission, Admitted
from hotfire_service.admission.identity import preflight_key
from hotfire_service.admission.shape import Violations, check_shape

__all__ = ["Admission", "Admitted", "Violations", "check_shape", "preflight_key"]
