{{/* Base of all names: at most 40 characters, so that suffixes stay within 63. */}}
{{- define "kubelb-ccm.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kubelb-ccm.selectorLabels" -}}
app.kubernetes.io/name: kubelb-ccm
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kubelb-ccm.labels" -}}
{{ include "kubelb-ccm.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Cluster-scoped names carry the namespace too: two releases may have one name. */}}
{{- define "kubelb-ccm.clusterScopedName" -}}
{{- printf "%s:%s" .Release.Namespace (include "kubelb-ccm.fullname" .) }}
{{- end }}
